//! The model of a PBX, terminals and attackers: its rules hold for the corpus of the fuzz target `decide`.

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
