//! Compiles the .proto files without protoc and keeps their descriptors for reflection.

use std::error::Error;
use std::path::{Path, PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new("hubward/v1");
    println!("cargo:rerun-if-changed=hubward");
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    let descriptors = protox::compile(&files, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // By its name a message is found among the descriptors, and weighed before it is read.
    let mut config = tonic_prost_build::Config::new();
    config.enable_type_names();
    // Boxed where a list of empty elements would otherwise take a hundred times its bytes on the wire.
    tonic_prost_build::configure()
        .bytes(".hubward.v1.Changes.batch")
        .boxed(".hubward.v1.PushItem.item.mutation")
        .boxed(".hubward.v1.Change.record")
        .codec_path("crate::codec::WeighedCodec")
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
