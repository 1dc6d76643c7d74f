//! A reader of traces that knows no more than the messages.
//!
//! Owns inflating, and strings by number. Must not know what was written.

use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::ZlibDecoder;
use memtrace::perfetto::proto::{
    AnnotationValue, Data, DebugAnnotation, InternedData, SequenceFlags, Trace, TracePacket, TrackDescriptor,
    TrackEvent,
};
use prost::Message as _;

/// The packets of all batches, each of which has to be one packet.
pub(crate) fn packets(bytes: &[u8]) -> Vec<TracePacket> {
    let mut packets = Vec::new();
    for packet in Trace::decode(bytes).expect("whole packets").packet {
        let Some(Data::CompressedPackets(deflated)) = packet.data else {
            panic!("a packet outside of a batch: {packet:?}");
        };
        let mut inflated = Vec::new();
        ZlibDecoder::new(&*deflated)
            .read_to_end(&mut inflated)
            .expect("zlib");
        packets.extend(Trace::decode(&*inflated).expect("a batch").packet);
    }
    packets
}

/// A trace as it is read: packets in order, each string where its number was.
#[derive(Default)]
pub(crate) struct Reader {
    told: HashMap<(u8, u64), String>,
    /// How often the events' sequence was begun.
    pub(crate) begun: u32,
    /// What was described, in order.
    pub(crate) tracks: Vec<TrackDescriptor>,
    /// Times, events, and what each says, as one line.
    pub(crate) events: Vec<(u64, TrackEvent, String)>,
}

impl Reader {
    pub(crate) fn read(bytes: &[u8]) -> Reader {
        let mut reader = Reader::default();
        for packet in packets(bytes) {
            reader.packet(packet);
        }
        reader
    }

    pub(crate) fn packet(&mut self, packet: TracePacket) {
        if let Some(Data::TrackDescriptor(track)) = packet.data {
            self.tracks.push(track);
            return;
        }
        if packet.trace_packet_defaults.is_some() {
            assert_eq!(
                packet.sequence_flags(),
                SequenceFlags::IncrementalStateCleared as u32
            );
            self.told.clear();
            self.begun += 1;
        }
        if let Some(strings) = &packet.interned_data {
            self.tell(strings);
        }
        if let Some(Data::TrackEvent(event)) = packet.data {
            assert_eq!(
                packet.sequence_flags,
                Some(SequenceFlags::NeedsIncrementalState as u32)
            );
            assert!(self.begun > 0, "an event before its sequence has begun");
            let words = self.words(&event);
            self.events
                .push((packet.timestamp.expect("a time"), event, words));
        }
    }

    fn tell(&mut self, strings: &InternedData) {
        let tables = [
            &strings.event_categories,
            &strings.event_names,
            &strings.debug_annotation_names,
            &strings.debug_annotation_string_values,
        ];
        for (table, entries) in (0..).zip(tables) {
            for entry in entries {
                let before = self.told.insert((table, entry.iid()), entry.text().to_owned());
                assert_eq!(before, None, "told twice");
            }
        }
    }

    fn word(&self, table: u8, number: u64) -> &str {
        self.told
            .get(&(table, number))
            .expect("a string that has been told")
    }

    fn words(&self, event: &TrackEvent) -> String {
        let mut words: Vec<_> = event
            .category_iids
            .iter()
            .map(|&n| self.word(0, n).to_owned())
            .collect();
        words.extend(event.name_iid.map(|n| self.word(1, n).to_owned()));
        words.extend(event.debug_annotations.iter().map(|arg| self.argument(arg)));
        words.join(" ")
    }

    fn argument(&self, arg: &DebugAnnotation) -> String {
        let name = arg.name_iid.map_or("", |n| self.word(2, n));
        let value = match &arg.value {
            Some(AnnotationValue::StringIid(n)) => format!("{:?}", self.word(3, *n)),
            Some(value) => format!("{value:?}"),
            None => {
                let inner = |args: &[DebugAnnotation]| {
                    let shown: Vec<_> = args.iter().map(|arg| self.argument(arg)).collect();
                    shown.join(" ")
                };
                format!("{{{}}}[{}]", inner(&arg.dict_entries), inner(&arg.array_values))
            }
        };
        format!("{name}={value}")
    }
}
