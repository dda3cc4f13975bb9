//! Reads qlogs with quiche's reader, which takes an event only when every field of it has its type: prints for each file how many
//! events it understood, the names of those it took as JSON alone, and how many it could not read at all.
use qlog::reader::{Event, QlogSeqReader};
use std::fs;
use std::io::Cursor;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for path in std::env::args().skip(1) {
        let bytes = fs::read(&path)?;
        let records = bytes.iter().filter(|b| **b == 0x1e).count();
        let reader = QlogSeqReader::new(Box::new(Cursor::new(bytes)))?;
        let version = reader.qlog.qlog_version.clone();
        let (mut typed, mut plain) = (0, Vec::new());
        for event in reader {
            match event {
                Event::Qlog(_) => typed += 1,
                Event::Json(event) => plain.push(event.name),
            }
        }
        let unread = records - 1 - typed - plain.len();
        println!("{version} typed {typed} unread {unread} plain {}", plain.join(" "));
    }
    Ok(())
}
