//! Compiles `proto/` into the generated half of `src/proto.rs`, without a protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    // Embedded by src/store.
    println!("cargo::rerun-if-changed=src/store/migrations");
    let descriptors =
        protox::compile(["proto/roger/v1/talk.proto", "proto/roger/v1/people.proto", "proto/roger/v1/alert.proto"], ["proto"])?;
    let out = std::path::PathBuf::from(std::env::var("OUT_DIR")?);
    // Served by the reflection service of the edges and the directory.
    std::fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    tonic_prost_build::configure().bytes(".").codec_path("crate::proto::codec::Codec").compile_fds(descriptors)?;
    Ok(())
}
