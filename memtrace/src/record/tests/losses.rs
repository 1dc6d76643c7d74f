//! What the ring lost and what damage lost, told as one.

use super::{Event, Losses, Lost, Made, Nanos, Notice, Told, any::sample, read};

fn lost(fault: u64, ns: u64) -> Lost {
    Lost {
        fault,
        ns,
        ..Lost::default()
    }
}

fn told(fault: u64) -> Told {
    Told::Notice(notice(lost(fault, 0)))
}

fn notice(lost: Lost) -> Notice {
    Notice::Lost {
        lost,
        since: Nanos(7),
        until: Nanos(9),
    }
}

const GAP: (Nanos, Nanos) = (Nanos(40), Nanos(50));

fn said(event: Option<Event<'_>>) -> Option<Lost> {
    match event {
        Some(Event::Notice(Notice::Lost { lost, .. })) => Some(lost),
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

#[test]
fn damage_is_told_once() {
    let mut losses = Losses::default();
    assert_eq!(said(losses.found(Lost::default(), GAP)), None);
    assert_eq!(said(losses.found(lost(3, 50), GAP)), Some(lost(3, 50)));
    assert_eq!(said(losses.found(lost(3, 50), GAP)), None);
    assert_eq!(said(losses.found(lost(4, 50), GAP)), Some(lost(4, 50)));
}

#[test]
fn each_loss_is_told_with_the_time_that_it_was_in() {
    let mut losses = Losses::default();
    let damage = losses.found(lost(3, 10), GAP);
    assert_eq!(
        damage,
        Some(Event::Notice(Notice::Lost {
            lost: lost(3, 10),
            since: GAP.0,
            until: GAP.1
        }))
    );
    let made = Made::of(&[vec![told(1)]]);
    let mut reader = super::Reader::open(&made.bytes[..]).unwrap();
    let block = reader.block().unwrap().unwrap();
    let mut last = None;
    block
        .events(&mut Losses::default(), |event| last = Some(format!("{event:?}")))
        .unwrap();
    assert_eq!(last, Some(format!("{:?}", Event::Notice(notice(lost(1, 0))))));
}

#[test]
fn more_than_can_be_counted_is_the_most_that_can() {
    let mut losses = Losses::default();
    let most = Lost {
        fault: u64::MAX,
        mm: u64::MAX,
        io: u64::MAX,
        frame: u64::MAX,
        task: u64::MAX,
        ns: u64::MAX,
    };
    let made = Made::of(&[vec![Told::Notice(notice(most))]]);
    let mut reader = super::Reader::open(&made.bytes[..]).unwrap();
    losses.found(lost(5, 5), GAP);
    let mut last = None;
    let block = reader.block().unwrap().unwrap();
    block
        .events(&mut losses, |event| last = said(Some(event)))
        .unwrap();
    // The block itself says first that nothing was damaged after all.
    assert_eq!(last, Some(most));
    assert_eq!(said(losses.found(lost(5, 5), GAP)), Some(most));
}

/// What the run says is its sum so far, and takes nothing away from what damage lost.
#[test]
fn what_the_ring_lost_adds_to_what_damage_lost() {
    let faults: Vec<Told> = sample(200)
        .into_iter()
        .filter(|told| super::families(std::slice::from_ref(told))[0] == 1)
        .take(5)
        .collect();
    let stretches = [vec![told(10)], faults.clone(), vec![told(30)], vec![told(31)]];
    let made = Made::of(&stretches);
    let counts = |bytes: &[u8]| -> Vec<u64> {
        let losses = read(bytes).unwrap().losses;
        losses.iter().map(|(_, lost)| lost.fault).collect()
    };
    assert_eq!(counts(&made.bytes), [10, 30, 31]);
    let mut bytes = made.bytes.clone();
    bytes[made.blocks[1].end - 1] ^= 1;
    assert_eq!(counts(&bytes), [10, 15, 35, 36]);
    // What the run said in a damaged block it says again in the next one.
    bytes = made.bytes.clone();
    bytes[made.blocks[2].end - 1] ^= 1;
    assert_eq!(counts(&bytes), [10, 31]);
}
