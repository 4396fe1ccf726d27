//! The model of a PBX, terminals and attackers: its rules hold for the corpus of the fuzz target `decide`, and for any bytes.

use std::{fs, path::Path};

use nat_test_oracle::model;

#[test]
fn the_corpus_of_decide() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/decide");
    let mut files = 0;
    for file in fs::read_dir(corpus).expect("a corpus") {
        let path = file.expect("a file").path();
        eprintln!("{}", path.display());
        model::check(&fs::read(path).expect("its bytes"));
        files += 1;
    }
    assert!(files > 0, "no corpus");
}

#[test]
fn any_bytes() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..2000 {
        let bytes: Vec<u8> = (0..round % 244)
            .map(|_| {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                (random >> 24) as u8
            })
            .collect();
        eprintln!("{round}: {bytes:?}");
        model::check(&bytes);
    }
}
