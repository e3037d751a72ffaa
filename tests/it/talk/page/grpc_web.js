// As much of protobuf and gRPC-Web as a page needs that talks: numbers, bytes and messages in them; calls with one answer or many.

function varint(value) {
  const out = [];
  for (; value > 127n; value >>= 7n) out.push(Number(value & 127n) | 128);
  out.push(Number(value));
  return out;
}

/** A field with a number. */
export const uint = (field, value) => [...varint(BigInt(field) << 3n), ...varint(value)];
/** A field with a number of eight bytes. */
export const fixed64 = (field, value) => [...varint((BigInt(field) << 3n) | 1n), ...Array.from({ length: 8 }, (_, at) => Number((value >> BigInt(8 * at)) & 255n))];
/** A field with bytes, a text as UTF-8, or a message. */
export const bytes = (field, value) => [...varint((BigInt(field) << 3n) | 2n), ...varint(BigInt(value.length)), ...value];

/** The fields of a message by their numbers: each a list of BigInt or Uint8Array. */
export function parse(message) {
  const fields = new Map();
  let at = 0;
  const number = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = message[at++];
      value |= BigInt(byte & 127) << shift;
      if (byte < 128) return value;
    }
  };
  const take = (count) => message.subarray(at, (at += count));
  const little = (part) => part.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
  while (at < message.length) {
    const key = number();
    const kind = Number(key & 7n);
    const value = kind === 0 ? number() : kind === 1 ? little(take(8)) : kind === 2 ? take(Number(number())) : little(take(4));
    const field = Number(key >> 3n);
    fields.set(field, [...(fields.get(field) ?? []), value]);
  }
  return fields;
}

function refused(method, status, text) {
  if (status !== null && status !== "0") throw new Error(`${method}: status ${status}, ${decodeURIComponent(text ?? "")}`);
}

/** The messages that answer a call, as they come. */
export async function* stream(edge, method, message) {
  const length = new Uint8Array(5);
  new DataView(length.buffer).setUint32(1, message.length);
  const headers = { "content-type": "application/grpc-web+proto", "x-grpc-web": "1" };
  const answer = await fetch(`${edge}/${method}`, { method: "POST", headers, body: new Uint8Array([...length, ...message]) });
  refused(method, answer.headers.get("grpc-status"), answer.headers.get("grpc-message"));
  const reader = answer.body.getReader();
  let left = new Uint8Array();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    left = new Uint8Array([...left, ...value]);
    while (left.length >= 5) {
      const end = 5 + new DataView(left.buffer, left.byteOffset).getUint32(1);
      if (left.length < end) break;
      const [flags, content] = [left[0], left.slice(5, end)];
      left = left.slice(end);
      if (flags & 128) {
        const trailers = new Map(new TextDecoder().decode(content).trim().split("\r\n").map((line) => line.split(/:\s*/, 2)));
        refused(method, trailers.get("grpc-status") ?? null, trailers.get("grpc-message"));
      } else {
        yield content;
      }
    }
  }
}

/** The one message that answers a call. */
export async function unary(edge, method, message) {
  let answer;
  for await (const content of stream(edge, method, message)) answer = content;
  return answer;
}
