use super::*;
use proptest::prelude::*;
use std::io::Write;
use std::os::fd::AsFd;

#[test]
fn a_message_and_its_descriptor_arrive_and_the_next_frame_stays_in_the_socket() {
    let (one, two) = pair().unwrap();
    let file = tempfile::tempfile().unwrap();
    send(one.as_fd(), &(1_u32, "one"), &[file.as_fd()], SendFlags::empty()).unwrap();
    send(one.as_fd(), &(2_u32, "two"), &[], SendFlags::empty()).unwrap();
    let (message, fds) = receive::<(u32, String)>(two.as_fd()).unwrap().unwrap();
    assert_eq!(message, (1, "one".to_owned()));
    assert_eq!(fds.len(), 1);
    let waiting = rustix::io::ioctl_fionread(&two).unwrap();
    assert_eq!(waiting, HEADER as u64 + 5);
    drop(one);
    assert_eq!(receive::<(u32, String)>(two.as_fd()).unwrap().unwrap().0.0, 2);
    assert!(receive::<(u32, String)>(two.as_fd()).unwrap().is_none());
}

#[test]
fn a_peer_that_does_not_read_never_blocks_the_sender_that_must_not_wait() {
    let (one, _two) = pair().unwrap();
    let text = "x".repeat(4096);
    let error = (0..1_000)
        .find_map(|_| send(one.as_fd(), &text, &[], SendFlags::DONTWAIT).err())
        .expect("a socket's buffer is finite");
    assert!(matches!(error, WireError::Io(error) if error.kind() == io::ErrorKind::WouldBlock));
}

#[test]
fn a_length_beyond_the_bound_is_refused_before_anything_is_allocated() {
    let mut reader = Reader::default();
    reader.push(&[0xff, 0xff, 0xff, 0xff, 0]);
    assert!(matches!(reader.frame(), Err(WireError::Malformed(_))));
    let (one, two) = pair().unwrap();
    std::fs::File::from(one).write_all(&[0xff, 0xff, 0xff, 0x7f, 0]).unwrap();
    assert!(matches!(receive::<u32>(two.as_fd()), Err(WireError::Malformed(_))));
}

proptest! {
    #[test]
    fn frames_survive_any_cutting(sizes in prop::collection::vec(0_usize..3000, 1..20), cut in 1_usize..500) {
        let mut bytes = Vec::new();
        for (i, size) in sizes.iter().enumerate() {
            bytes.extend_from_slice(&(*size as u32).to_le_bytes());
            bytes.push((i % 3) as u8);
            bytes.extend(std::iter::repeat_n(i as u8, *size));
        }
        let mut reader = Reader::default();
        let mut seen = Vec::new();
        for chunk in bytes.chunks(cut) {
            reader.push(chunk);
            while let Some(frame) = reader.frame().unwrap() {
                seen.push(frame.body.to_vec());
            }
        }
        let expected: Vec<_> = sizes.iter().enumerate().map(|(i, n)| vec![i as u8; *n]).collect();
        prop_assert_eq!(seen, expected);
    }
}
