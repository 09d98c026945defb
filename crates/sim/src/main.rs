//! Not yet.
mod action;
mod app;
mod environment;
mod files;
mod generate;
mod oracle;
mod rows;
mod statements;
mod tally;
mod violation;
mod world;
fn main() {
    let seed: u64 = std::env::args().nth(1).unwrap().parse().unwrap();
    let n: u64 = std::env::args().nth(2).map_or(1, |n| n.parse().unwrap());
    let t = std::time::Instant::now();
    let mut tally = tally::Tally::default();
    for seed in seed..seed + n {
        let ended = world::run(&generate::Plan::new(seed), n == 1);
        for line in ended.trace {
            println!("{line}");
        }
        if let Some((at, v)) = ended.violation {
            println!("seed {seed} step {at}: {v}");
        }
        tally.merge(&ended.tally);
    }
    println!("{tally:?} {:?}", t.elapsed());
}
