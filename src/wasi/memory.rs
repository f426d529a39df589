//! Guest memory, in place: every pointer and length is checked here, with arithmetic that cannot
//! overflow. A 32-bit pointer plus a 32-bit length always fits in 64 bits.

use super::gate::Fault;
use super::types::Errno;
use std::io::{IoSlice, IoSliceMut};
use std::ops::Range;

/// As many buffers as one system call takes (`IOV_MAX`); what is beyond is left for the guest's
/// next call, as a short read or write.
const MAX_BUFFERS: u32 = 1024;

/// As many bytes as one system call moves (Linux' `MAX_RW_COUNT`).
const MAX_BYTES: usize = 0x7fff_f000;

/// The range of `len` bytes at `ptr`, if the memory has them.
pub(crate) fn range(memory: &[u8], ptr: u32, len: u32) -> Result<Range<usize>, Fault> {
    let start = ptr as usize;
    let end = start.checked_add(len as usize).ok_or(Errno::FAULT)?;
    if end <= memory.len() { Ok(start..end) } else { Err(Errno::FAULT.into()) }
}

/// As long as a path or the text of a link may be for the kernel, in bytes (`PATH_MAX`, its NUL included).
pub(crate) const MAX_PATH: usize = 4096;

/// A path, or the text of a link, of the guest: the only texts that a call reads. Its bound comes before
/// anything is made of it, so that no length of a guest's makes the host copy more than that.
pub(crate) fn text(memory: &[u8], ptr: u32, len: u32) -> Result<&[u8], Fault> {
    let text = bytes(memory, ptr, len)?;
    if text.len() >= MAX_PATH { Err(Errno::NAMETOOLONG.into()) } else { Ok(text) }
}

/// `count` records of `size` bytes each at `ptr`; the caller has bounded their number.
pub(crate) fn records(memory: &[u8], ptr: u32, count: u32, size: u32) -> Result<&[u8], Fault> {
    bytes(memory, ptr, count.checked_mul(size).ok_or(Errno::FAULT)?)
}

/// `len` bytes at `ptr`. Private: what leaves this module has a bound, or is written to in place.
fn bytes(memory: &[u8], ptr: u32, len: u32) -> Result<&[u8], Fault> {
    Ok(&memory[range(memory, ptr, len)?])
}

/// `len` bytes at `ptr`, for writing.
pub(crate) fn bytes_mut(memory: &mut [u8], ptr: u32, len: u32) -> Result<&mut [u8], Fault> {
    let range = range(memory, ptr, len)?;
    Ok(&mut memory[range])
}

/// Copies `bytes` to `ptr`.
pub(crate) fn put(memory: &mut [u8], ptr: u32, bytes: &[u8]) -> Result<(), Fault> {
    let range = range(memory, ptr, u32::try_from(bytes.len()).map_err(|_| Errno::FAULT)?)?;
    memory[range].copy_from_slice(bytes);
    Ok(())
}

/// Writes a 32-bit number to `ptr`.
pub(crate) fn put_u32(memory: &mut [u8], ptr: u32, value: u32) -> Result<(), Fault> {
    put(memory, ptr, &value.to_le_bytes())
}

/// Writes a 64-bit number to `ptr`.
pub(crate) fn put_u64(memory: &mut [u8], ptr: u32, value: u64) -> Result<(), Fault> {
    put(memory, ptr, &value.to_le_bytes())
}

/// The 32-bit number in `bytes` at `at`; the caller has checked the length.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// The 64-bit number in `bytes` at `at`; the caller has checked the length.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The buffer that entry `index` of the array at `iovs` describes.
fn buffer(memory: &[u8], iovs: u32, index: u32) -> Result<Range<usize>, Fault> {
    let at = iovs.checked_add(index * 8).ok_or(Errno::FAULT)?;
    let entry = bytes(memory, at, 8)?;
    range(memory, u32_at(entry, 0), u32_at(entry, 4))
}

/// Calls `write` with the guest's buffers, without copying them. They may overlap, so together
/// they can be far more than the memory holds: what is beyond [`MAX_BYTES`] is left for the next call.
pub(crate) fn gather<R>(
    memory: &[u8],
    iovs: u32,
    count: u32,
    write: impl FnOnce(&[IoSlice<'_>]) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let count = count.min(MAX_BUFFERS);
    let mut room = MAX_BYTES;
    let mut slice = |index| -> Result<_, Fault> {
        let bytes = &memory[buffer(memory, iovs, index)?];
        let taken = &bytes[..bytes.len().min(room)];
        room -= taken.len();
        Ok(IoSlice::new(taken))
    };
    if count <= 4 {
        let mut slices = [IoSlice::new(&[]); 4];
        for index in 0..count {
            slices[index as usize] = slice(index)?;
        }
        return write(&slices[..count as usize]);
    }
    let slices = (0..count).map(slice).collect::<Result<Vec<_>, Fault>>()?;
    write(&slices)
}

/// Calls `read` with the guest's buffers, without copying them.
///
/// Buffers that overlap each other cannot all be written in one call through exclusive borrows:
/// then only the first one is offered, which is a short read, as POSIX allows.
pub(crate) fn scatter<R>(
    memory: &mut [u8],
    iovs: u32,
    count: u32,
    read: impl FnOnce(&mut [IoSliceMut<'_>]) -> Result<R, Fault>,
) -> Result<R, Fault> {
    let count = count.min(MAX_BUFFERS);
    if count == 0 {
        return read(&mut []);
    }
    if count == 1 {
        let range = buffer(memory, iovs, 0)?;
        return read(&mut [IoSliceMut::new(&mut memory[range])]);
    }
    let mut ranges = Vec::with_capacity(count as usize);
    for index in 0..count {
        ranges.push((index, buffer(memory, iovs, index)?));
    }
    ranges.retain(|(_, range)| !range.is_empty());
    ranges.sort_unstable_by_key(|(_, range)| range.start);
    if ranges.windows(2).any(|pair| pair[0].1.end > pair[1].1.start) {
        ranges.sort_unstable_by_key(|(index, _)| *index);
        let range = ranges[0].1.clone();
        return read(&mut [IoSliceMut::new(&mut memory[range])]);
    }
    // Ascending and disjoint: each is split off from what is left of the memory.
    let mut slices = Vec::with_capacity(ranges.len());
    let (mut rest, mut offset) = (memory, 0);
    for (index, range) in ranges {
        let (_, tail) = rest.split_at_mut(range.start - offset);
        let (slice, tail) = tail.split_at_mut(range.len());
        slices.push((index, IoSliceMut::new(slice)));
        (rest, offset) = (tail, range.end);
    }
    slices.sort_unstable_by_key(|(index, _)| *index);
    let mut slices: Vec<_> = slices.into_iter().map(|(_, slice)| slice).collect();
    read(&mut slices)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory_with(iovs: &[(u32, u32)]) -> Vec<u8> {
        let mut memory = vec![0; 256];
        for (index, (ptr, len)) in iovs.iter().enumerate() {
            memory[index * 8..][..4].copy_from_slice(&ptr.to_le_bytes());
            memory[index * 8 + 4..][..4].copy_from_slice(&len.to_le_bytes());
        }
        memory
    }

    fn lengths(iovs: &[(u32, u32)]) -> Result<Vec<usize>, Fault> {
        scatter(&mut memory_with(iovs), 0, iovs.len() as u32, |slices| {
            for (number, slice) in slices.iter_mut().enumerate() {
                slice.fill(number as u8 + 1);
            }
            Ok(slices.iter().map(|slice| slice.len()).collect())
        })
    }

    #[test]
    fn buffers_in_any_order_keep_the_guests_order() {
        let mut memory = memory_with(&[(200, 3), (100, 5), (150, 0), (160, 2)]);
        scatter(&mut memory, 0, 4, |slices| {
            for (number, slice) in slices.iter_mut().enumerate() {
                slice.fill(number as u8 + 1);
            }
            Ok(())
        })
        .expect("all of it is inside");
        assert_eq!(memory[200..203], [1; 3]);
        assert_eq!(memory[100..105], [2; 5]);
        assert_eq!(memory[160..162], [3; 2]);
    }

    #[test]
    fn overlapping_buffers_become_a_short_read() {
        assert_eq!(lengths(&[(100, 10), (105, 10)]).unwrap(), [10]);
        assert_eq!(lengths(&[(105, 7), (100, 10)]).unwrap(), [7]);
        assert_eq!(lengths(&[(100, 10), (110, 10)]).unwrap(), [10, 10]);
    }

    #[test]
    fn what_is_outside_is_a_fault() {
        for bad in [(250, 7), (u32::MAX, 1), (1, u32::MAX), (257, 0), (u32::MAX, u32::MAX)] {
            assert!(matches!(lengths(&[bad]), Err(Fault::Errno(Errno::FAULT))), "{bad:?}");
            assert!(matches!(lengths(&[(100, 1), bad]), Err(Fault::Errno(Errno::FAULT))), "{bad:?}");
        }
        assert_eq!(lengths(&[(256, 0), (255, 1)]).unwrap(), [1]);
        let array_outside = scatter(&mut [0; 20], 16, 1, |_| Ok(()));
        assert!(matches!(array_outside, Err(Fault::Errno(Errno::FAULT))));
        let array_wraps = gather(&[0; 20], u32::MAX - 3, 3, |_| Ok(()));
        assert!(matches!(array_wraps, Err(Fault::Errno(Errno::FAULT))));
    }

    #[test]
    fn more_buffers_than_a_system_call_takes_are_left_for_the_next() {
        let memory = vec![0; 8 * 2000];
        assert_eq!(gather(&memory, 0, 2000, |slices| Ok(slices.len())).unwrap(), 1024);
    }

    #[test]
    fn overlapping_output_is_no_more_than_a_system_call_takes() {
        let mut memory = vec![0; 16 << 20];
        for index in 0..1024 {
            memory[index * 8 + 4..][..4].copy_from_slice(&(16u32 << 20).to_le_bytes());
        }
        let total =
            gather(&memory, 0, 1024, |slices| Ok(slices.iter().map(|slice| slice.len()).sum::<usize>()));
        assert_eq!(total.unwrap(), MAX_BYTES);
    }
}
