fn main() {
    let o = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    match nat_userspace::loader::Loader::new(&o).load() {
        Ok(_) => println!("loaded"),
        Err(e) => println!("{e:?}"),
    }
}
