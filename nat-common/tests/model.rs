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

/// The fuzz target begins with the stories that people have written, each named by the rule of the engine that it guards.
#[test]
fn each_story_is_a_seed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = 0;
    for file in fs::read_dir(root.join("tests/oracle/stories")).expect("stories") {
        let path = file.expect("a file").path();
        let name = path
            .file_stem()
            .expect("a name")
            .to_str()
            .expect("a plain name");
        let text = fs::read_to_string(&path).expect("a text");
        let (setup, steps) =
            model::read_story(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        let seed = fs::read(root.join("fuzz/corpus/decide").join(name)).unwrap_or_default();
        assert!(
            seed == model::encode(setup, &steps),
            "the seed is another one: cargo run -p nat-test-oracle --example story -- \
             tests/oracle/stories/{name}.story fuzz/corpus/decide/{name}"
        );
        files += 1;
    }
    assert!(files > 0, "no stories");
}
