//! RTP (RFC 3550): packets, and a sender that keeps the pace of speech.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep_until};

use super::{FRAME_MS, SILENCE};

/// The head of a packet, bytes.
const HEAD_BYTES: usize = 12;
/// Opus in rooms of Janus.
const PAYLOAD_TYPE: u8 = 111;
/// How much the clock of Opus moves in a frame: 20 ms of 48 kHz, whatever rate is spoken (RFC 7587, 4.1).
const FRAME_TICKS: u32 = 960;
/// The largest packet that is read, bytes.
const PACKET_BYTES_MAX: usize = 1_500;

/// What an RTP packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// What is in it; 111 for Opus in rooms of Janus.
    pub payload_type: u8,
    /// The first packet of a burst of talk.
    pub marker: bool,
    /// Rises by one from packet to packet, modulo 2^16.
    pub sequence: u16,
    /// On the clock of the payload, modulo 2^32.
    pub timestamp: u32,
    /// Whose packets these are.
    pub source: u32,
    /// What is carried.
    pub payload: &'a [u8],
}

/// Bytes that are no RTP packet of version 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no RTP packet: {0}")]
pub struct NotRtp(&'static str);

impl<'a> Packet<'a> {
    /// Reads a packet; sources that contributed, header extension and padding are left out.
    ///
    /// # Errors
    /// [`NotRtp`], with what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, NotRtp> {
        let (head, mut payload) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(NotRtp("shorter than its head"))?;
        let [first, second, s0, s1, t0, t1, t2, t3, o0, o1, o2, o3] = *head;
        if first >> 6 != 2 {
            return Err(NotRtp("another version than 2"));
        }
        payload = payload.get(usize::from(first & 0x0f) * 4..).ok_or(NotRtp("shorter than its list of sources"))?;
        if first & 0x10 != 0 {
            let short = NotRtp("shorter than its extension");
            let ([_, _, high, low], rest) = payload.split_first_chunk::<4>().ok_or(short)?;
            payload = rest.get(usize::from(u16::from_be_bytes([*high, *low])) * 4..).ok_or(short)?;
        }
        if first & 0x20 != 0 {
            let padding = usize::from(*payload.last().ok_or(NotRtp("padding without a length"))?);
            let end = payload.len().checked_sub(padding).filter(|_| padding > 0).ok_or(NotRtp("longer padding than there is"))?;
            payload = &payload[..end];
        }
        Ok(Self {
            payload_type: second & 0x7f,
            marker: second & 0x80 != 0,
            sequence: u16::from_be_bytes([s0, s1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            source: u32::from_be_bytes([o0, o1, o2, o3]),
            payload,
        })
    }

    /// The bytes of it: a head of 12 bytes and the payload.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.payload.len());
        bytes.extend([0x80, u8::from(self.marker) << 7 | self.payload_type & 0x7f]);
        bytes.extend(self.sequence.to_be_bytes());
        bytes.extend(self.timestamp.to_be_bytes());
        bytes.extend(self.source.to_be_bytes());
        bytes.extend(self.payload);
        bytes
    }
}

/// Numbers the packets of one speaker. Time goes on while nothing is said.
#[derive(Clone, Debug)]
pub struct PacketStream {
    source: u32,
    sequence: u16,
    timestamp: u32,
}

impl PacketStream {
    /// A stream that begins anywhere, as RFC 3550 (5.1) wants.
    pub fn new() -> Self {
        Self { source: rand::random(), sequence: rand::random(), timestamp: rand::random() }
    }

    /// The next packet.
    pub fn next<'a>(&mut self, payload: &'a [u8], marker: bool) -> Packet<'a> {
        let Self { source, sequence, timestamp } = *self;
        self.sequence = sequence.wrapping_add(1);
        self.pause(1);
        Packet { payload_type: PAYLOAD_TYPE, marker, sequence, timestamp, source, payload }
    }

    /// Lets the time of frames pass in which nothing is said.
    pub fn pause(&mut self, frames: u32) {
        self.timestamp = self.timestamp.wrapping_add(frames.wrapping_mul(FRAME_TICKS));
    }
}

impl Default for PacketStream {
    fn default() -> Self {
        Self::new()
    }
}

/// Sends and receives from one UDP socket: Janus hears, in a room, exactly the address that joined.
#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    stream: PacketStream,
    /// When the next packet may leave.
    next: Option<Instant>,
}

impl Sender {
    /// Binds a socket; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be had.
    pub async fn bind(address: SocketAddr) -> io::Result<Self> {
        Ok(Self { socket: UdpSocket::bind(address).await?, stream: PacketStream::new(), next: None })
    }

    /// Its own address.
    ///
    /// # Errors
    /// When the system does not tell it.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Opens the path: a packet of silence. A participant in plain RTP is sent nothing before it sent something.
    ///
    /// # Errors
    /// When the system does not send it; that it arrives nobody says.
    pub async fn open(&mut self, to: SocketAddr) -> io::Result<()> {
        let packet = self.stream.next(&SILENCE, false).to_bytes();
        self.socket.send_to(&packet, to).await.map(drop)
    }

    /// Sends packets of Opus, one every 20 ms, the first at once. A sender that was held up sends faster until it has the pace again.
    /// Dropped on the way it stops between two packets.
    ///
    /// # Errors
    /// At the first packet that the system does not send.
    pub async fn talk<'a>(&mut self, to: SocketAddr, packets: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        let begin = self.next.filter(|next| *next > Instant::now()).unwrap_or_else(Instant::now);
        let mut due = begin;
        for (at, payload) in packets.into_iter().enumerate() {
            sleep_until(due).await;
            let packet = self.stream.next(payload, at == 0).to_bytes();
            self.socket.send_to(&packet, to).await?;
            due += Duration::from_millis(FRAME_MS);
            self.next = Some(due);
        }
        Ok(())
    }

    /// The payload of the next packet that comes, if it is RTP. Bytes that are not are passed over.
    ///
    /// # Errors
    /// When the socket fails, as when nobody listens at the other end any more.
    pub async fn hear(&self) -> io::Result<Vec<u8>> {
        let mut buffer = [0; PACKET_BYTES_MAX];
        loop {
            let bytes = self.socket.recv(&mut buffer).await?;
            if let Ok(packet) = Packet::parse(&buffer[..bytes]) {
                return Ok(packet.payload.to_vec());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_packet_reads_back_as_written_and_more_of_a_head_is_passed_over() {
        let mut stream = PacketStream { source: 7, sequence: u16::MAX, timestamp: u32::MAX };
        let first = stream.next(b"abc", true);
        assert_eq!(first.to_bytes(), b"\x80\xef\xff\xff\xff\xff\xff\xff\x00\x00\x00\x07abc");
        assert_eq!(Packet::parse(&first.to_bytes()), Ok(first));
        stream.pause(2);
        let second = stream.next(b"d", false);
        assert_eq!((second.sequence, second.timestamp, second.marker), (0, 2_879, false));
        // One contributing source, an extension of one word, two bytes of padding.
        let full = b"\xb1\x6f\0\x01\0\0\0\x02\0\0\0\x03SRC1\xbe\xde\0\x01EXT1hi\0\x02";
        assert_eq!(Packet::parse(full).unwrap().payload, b"hi");
    }

    #[test]
    fn what_is_no_packet_is_refused_by_name() {
        for (bytes, expected) in [
            (&b""[..], "no RTP packet: shorter than its head"),
            (&[0; 12], "no RTP packet: another version than 2"),
            (b"\x81\x6f\0\x01\0\0\0\x02\0\0\0\x03ab", "no RTP packet: shorter than its list of sources"),
            (b"\x90\x6f\0\x01\0\0\0\x02\0\0\0\x03\0\0\0\x01", "no RTP packet: shorter than its extension"),
            (b"\xa0\x6f\0\x01\0\0\0\x02\0\0\0\x03\x07", "no RTP packet: longer padding than there is"),
            (b"\xa0\x6f\0\x01\0\0\0\x02\0\0\0\x03\0", "no RTP packet: longer padding than there is"),
        ] {
            assert_eq!(Packet::parse(bytes).unwrap_err().to_string(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_are_too_strange(bytes: Vec<u8>) {
            if let Ok(packet) = Packet::parse(&bytes) {
                prop_assert!(packet.payload.len() + HEAD_BYTES <= bytes.len());
            }
        }
    }

    #[tokio::test]
    async fn packets_leave_in_order_from_one_address_at_the_pace_of_speech() {
        let ear = Sender::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let mut mouth = Sender::bind("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let to = ear.local_addr().unwrap();
        let begun = Instant::now();
        mouth.open(to).await.unwrap();
        mouth.socket.send_to(b"no packet", to).await.unwrap();
        mouth.talk(to, [&b"a"[..], b"b"]).await.unwrap();
        // The pace holds from one call to the next.
        mouth.talk(to, [&b"c"[..]]).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(2 * FRAME_MS), "{:?}", begun.elapsed());
        for expected in [&SILENCE[..], b"a", b"b", b"c"] {
            assert_eq!(ear.hear().await.unwrap(), expected);
        }
    }
}
