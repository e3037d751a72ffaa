//! What an entry of an alert topic says.

use super::Located;

/// The body of an entry of kind `Alert`: what happened, and how the alert stands with it. Each says everything, so that whoever sees only the last
/// one knows the alert.
#[derive(Clone, PartialEq, prost::Message)]
pub struct AlertBody {
    #[prost(fixed64, tag = "1")]
    pub alert: u64,
    /// Counts what happened to the alert, from 1.
    #[prost(uint64, tag = "2")]
    pub number: u64,
    /// An `AlertEvent`.
    #[prost(uint32, tag = "3")]
    pub event: u32,
    /// When, UTC ms.
    #[prost(uint64, tag = "4")]
    pub time_ms: u64,
    /// Who pressed.
    #[prost(uint64, tag = "5")]
    pub device: u64,
    #[prost(string, tag = "6")]
    pub nickname: String,
    /// When it was pressed first, UTC ms.
    #[prost(uint64, tag = "7")]
    pub opened_ms: u64,
    #[prost(uint32, tag = "8")]
    pub presses: u32,
    /// Where the device is, or was last; absent when nothing is known.
    #[prost(message, optional, tag = "9")]
    pub located: Option<Located>,
    /// The position came with the press; else it is the last one known before.
    #[prost(bool, tag = "10")]
    pub located_by_press: bool,
    /// What the device said with it.
    #[prost(string, tag = "11")]
    pub text: String,
    /// Who acknowledged, cancelled or closed, or who is told next; 0 for nobody.
    #[prost(uint64, tag = "12")]
    pub by: u64,
    #[prost(string, tag = "13")]
    pub by_name: String,
    /// What they said with it.
    #[prost(string, tag = "14")]
    pub remark: String,
    /// Who has it: the one who acknowledged; 0 for nobody yet.
    #[prost(uint64, tag = "15")]
    pub holder: u64,
    #[prost(string, tag = "16")]
    pub holder_name: String,
    /// It is over.
    #[prost(bool, tag = "17")]
    pub over: bool,
    /// The group whose room was told; 0 when the device was in none.
    #[prost(uint64, tag = "18")]
    pub room: u64,
}
