//! A vCPU's accesses to memory: through its cached translations where they hit, else by asking the front end.

use super::exit::{Exception, Stop};
use super::isa::{Access, Isa};
use super::probe::DeviceAccess;
use super::vcpu::Vcpu;
use crate::device::{AccessError, Width};
use crate::ir::{AmoOp, MemAttr, Ty, View};
use crate::mem::{Fill, PAGE_SIZE, Scalar, next_page};

/// Where an access ends up.
pub(super) enum Place {
    /// At this offset in the RAM mapping.
    Ram(usize),
    /// At this guest-physical address, which is no memory.
    Device(u64),
}

impl<I: Isa> Vcpu<I> {
    /// Reads the unit of integer or floating-point type `ty` at `va`, extended to 64 bits as `attr` says.
    #[inline]
    pub fn load(&mut self, ty: Ty, attr: MemAttr, va: u64) -> Result<u64, Stop> {
        let view = attr.view;
        if attr.exclusive {
            self.check_exclusive(view, va, ty.bytes())?;
        }
        let value = match ty.bytes() {
            1 => u64::from(self.load_unit::<u8>(view, va)?),
            2 => u64::from(self.load_unit::<u16>(view, va)?),
            4 => u64::from(self.load_unit::<u32>(view, va)?),
            _ => return self.load_unit::<u64>(view, va),
        };
        if attr.signed {
            let unused = 64 - 8 * ty.bytes() as u32;
            return Ok((((value << unused) as i64) >> unused) as u64);
        }
        Ok(value)
    }

    /// Writes the low bits of `value` as a unit of integer or floating-point type `ty` at `va`.
    #[inline]
    pub fn store(&mut self, ty: Ty, attr: MemAttr, va: u64, value: u64) -> Result<(), Stop> {
        match ty.bytes() {
            1 => self.store_unit(attr.view, va, value as u8),
            2 => self.store_unit(attr.view, va, value as u16),
            4 => self.store_unit(attr.view, va, value as u32),
            _ => self.store_unit(attr.view, va, value),
        }
    }

    /// Reads 16 bytes, low half first; not atomic.
    pub fn load_128(&mut self, view: View, va: u64) -> Result<u128, Stop> {
        let low = self.load_unit::<u64>(view, va)?;
        let high = self.load_unit::<u64>(view, va.wrapping_add(8))?;
        Ok(u128::from(low) | u128::from(high) << 64)
    }

    /// Writes 16 bytes; not atomic, but nothing is written if any of it faults.
    pub fn store_128(&mut self, view: View, va: u64, value: u128) -> Result<(), Stop> {
        self.probe(view, va, Access::Write)?;
        if crosses_page(va, 16) {
            self.probe(view, next_page(va), Access::Write)?;
        }
        self.store_unit(view, va, value as u64)?;
        self.store_unit(view, va.wrapping_add(8), (value >> 64) as u64)
    }

    /// Replaces the unit at `va` by `op` of it and `operand`; the old value, extended as `attr` says.
    pub fn amo(&mut self, ty: Ty, attr: MemAttr, op: AmoOp, va: u64, operand: u64) -> Result<u64, Stop> {
        let offset = self.atomic_place(attr.view, va, ty.bytes())?;
        let ram = self.bus.ram();
        let old = match ty.bytes() {
            1 => ram.fetch_update::<u8>(offset, |old| amo(op, old, operand)).into(),
            2 => ram.fetch_update::<u16>(offset, |old| amo(op, old, operand)).into(),
            4 => ram.fetch_update::<u32>(offset, |old| amo(op, old, operand)).into(),
            _ => ram.fetch_update::<u64>(offset, |old| amo(op, old, operand)),
        };
        ram.code_pages().note_write(offset, ty.bytes());
        Ok(extend(ty, attr, old))
    }

    /// Replaces the unit at `va` by `new` if it equals the low bits of `expected`; the old value, extended as `attr` says.
    pub fn cas(&mut self, ty: Ty, attr: MemAttr, va: u64, expected: u64, new: u64) -> Result<u64, Stop> {
        let offset = self.atomic_place(attr.view, va, ty.bytes())?;
        let ram = self.bus.ram();
        let old = match ty.bytes() {
            1 => ram.compare_exchange(offset, expected as u8, new as u8).into(),
            2 => ram.compare_exchange(offset, expected as u16, new as u16).into(),
            4 => ram.compare_exchange(offset, expected as u32, new as u32).into(),
            _ => ram.compare_exchange(offset, expected, new),
        };
        ram.code_pages().note_write(offset, ty.bytes());
        Ok(extend(ty, attr, old))
    }

    /// The same for 16 bytes.
    pub fn cas_128(&mut self, view: View, va: u64, expected: u128, new: u128) -> Result<u128, Stop> {
        let offset = self.atomic_place(view, va, 16)?;
        let ram = self.bus.ram();
        let old = ram.compare_exchange_128(offset, expected, new);
        ram.code_pages().note_write(offset, 16);
        Ok(old)
    }

    /// Fills the naturally aligned `len` bytes around `va` with zeros; `len` is a power of two from 8 to the size of a page.
    pub fn zero(&mut self, view: View, va: u64, len: usize) -> Result<(), Stop> {
        let block = va & !(len as u64 - 1);
        let hit = self.mmu.lookup(view, block, len, Access::Write);
        let place = match hit {
            Some(offset) => Ok(Place::Ram(offset)),
            None => self.place(view, block, len, Access::Write),
        };
        // A fault is at the address that was given.
        let at =
            |error: Exception| if error.value == block { Exception { value: va, ..error } } else { error };
        match place.map_err(at)? {
            Place::Ram(offset) => {
                let ram = self.bus.ram();
                (0..len).step_by(8).for_each(|i| ram.store::<u64>(offset + i, 0));
                if hit.is_none() {
                    ram.code_pages().note_write(offset, len);
                }
                Ok(())
            }
            Place::Device(_) => Err(self.isa.access_fault(va, Access::Write).into()),
        }
    }

    /// Checks that `va` may be accessed, without doing so: cache-block operations, prefetches that fault.
    pub fn probe(&mut self, view: View, va: u64, access: Access) -> Result<(), Stop> {
        self.place(view, va, 1, access)?;
        Ok(())
    }

    /// Reads one unit.
    #[inline]
    pub fn load_unit<T: Scalar>(&mut self, view: View, va: u64) -> Result<T, Stop> {
        match self.mmu.lookup(view, va, T::BYTES, Access::Read) {
            Some(offset) => Ok(self.bus.ram().load(offset)),
            None => self.load_slow(view, va),
        }
    }

    /// Writes one unit.
    #[inline]
    pub fn store_unit<T: Scalar>(&mut self, view: View, va: u64, value: T) -> Result<(), Stop> {
        match self.mmu.lookup(view, va, T::BYTES, Access::Write) {
            Some(offset) => {
                self.bus.ram().store(offset, value);
                Ok(())
            }
            None => self.store_slow(view, va, value),
        }
    }

    #[cold]
    fn load_slow<T: Scalar>(&mut self, view: View, va: u64) -> Result<T, Stop> {
        if crosses_page(va, T::BYTES) {
            // Both pages are checked before either is read.
            self.check_ram(view, va, 1, Access::Read)?;
            self.check_ram(view, next_page(va), 1, Access::Read)?;
            let mut value = 0;
            for i in 0..T::BYTES as u64 {
                value |= u64::from(self.load_unit::<u8>(view, va.wrapping_add(i))?) << (8 * i);
            }
            return Ok(T::from_u64(value));
        }
        match self.place(view, va, T::BYTES, Access::Read)? {
            Place::Ram(offset) => Ok(self.bus.ram().load(offset)),
            Place::Device(pa) => {
                let width = Width::from_bytes(T::BYTES);
                match width.map(|width| self.access_device(pa, width, None)) {
                    Some(Ok(value)) => Ok(T::from_u64(value)),
                    _ => Err(self.isa.access_fault(va, Access::Read).into()),
                }
            }
        }
    }

    #[cold]
    fn store_slow<T: Scalar>(&mut self, view: View, va: u64, value: T) -> Result<(), Stop> {
        if crosses_page(va, T::BYTES) {
            self.check_ram(view, va, 1, Access::Write)?;
            self.check_ram(view, next_page(va), 1, Access::Write)?;
            for (i, byte) in value.to_u64().to_le_bytes().into_iter().take(T::BYTES).enumerate() {
                self.store_unit(view, va.wrapping_add(i as u64), byte)?;
            }
            return Ok(());
        }
        match self.place(view, va, T::BYTES, Access::Write)? {
            Place::Ram(offset) => {
                let ram = self.bus.ram();
                ram.store(offset, value);
                ram.code_pages().note_write(offset, T::BYTES);
                Ok(())
            }
            Place::Device(pa) => {
                let width = Width::from_bytes(T::BYTES);
                match width.map(|width| self.access_device(pa, width, Some(value.to_u64()))) {
                    Some(Ok(_)) => Ok(()),
                    _ => Err(self.isa.access_fault(va, Access::Write).into()),
                }
            }
        }
    }

    /// Reads a device register, or writes `written` to it.
    fn access_device(&mut self, pa: u64, width: Width, written: Option<u64>) -> Result<u64, AccessError> {
        let outcome = match written {
            None => self.bus.read(pa, width),
            Some(value) => self.bus.write(pa, width, value).map(|()| 0),
        };
        self.observe(|probe, vcpu| probe.device(vcpu, &DeviceAccess { pa, width, written, outcome }));
        outcome
    }

    /// Checks that the load of an exclusive sequence is aligned and finds memory.
    fn check_exclusive(&mut self, view: View, va: u64, bytes: usize) -> Result<(), Stop> {
        if !va.is_multiple_of(bytes as u64) {
            return Err(self.isa.misaligned(va, Access::Read).into());
        }
        self.check_ram(view, va, bytes, Access::Read)
    }

    /// Checks that `va` may be accessed and is memory: what is not, takes neither atomic accesses nor misaligned ones that
    /// cross pages.
    fn check_ram(&mut self, view: View, va: u64, bytes: usize, access: Access) -> Result<(), Stop> {
        match self.place(view, va, bytes, access)? {
            Place::Ram(_) => Ok(()),
            Place::Device(_) => Err(self.isa.access_fault(va, access).into()),
        }
    }

    /// Where an aligned atomic access ends up; devices have no atomics.
    fn atomic_place(&mut self, view: View, va: u64, bytes: usize) -> Result<usize, Stop> {
        if !va.is_multiple_of(bytes as u64) {
            return Err(self.isa.misaligned(va, Access::Write).into());
        }
        if let Some(offset) = self.mmu.lookup(view, va, bytes, Access::Write) {
            return Ok(offset);
        }
        match self.place(view, va, bytes, Access::Write)? {
            Place::Ram(offset) => Ok(offset),
            Place::Device(_) => Err(self.isa.access_fault(va, Access::Write).into()),
        }
    }

    /// Translates an access that lies in one page, and caches the translation where that is possible.
    pub(super) fn place(
        &mut self,
        view: View,
        va: u64,
        bytes: usize,
        access: Access,
    ) -> Result<Place, Exception> {
        if let Some(offset) = self.mmu.lookup(view, va, bytes, access) {
            return Ok(Place::Ram(offset));
        }
        self.find_place(view, va, bytes, access).map(|(place, _)| place)
    }

    /// The same for an access whose translation is not cached; also the context bits of code there.
    fn find_place(
        &mut self,
        view: View,
        va: u64,
        bytes: usize,
        access: Access,
    ) -> Result<(Place, u32), Exception> {
        let translation = I::translate(self, va, bytes, access, view)?;
        let ram = self.bus.ram();
        let Some(offset) = ram.offset_of(translation.pa, bytes as u64) else {
            return Ok((Place::Device(translation.pa), 0));
        };
        let writable = ram.region_at(translation.pa).is_some_and(|region| region.writable);
        if access == Access::Write && !writable {
            return Err(self.isa.access_fault(va, access));
        }
        if translation.cacheable {
            let fetch = access == Access::Fetch;
            let perms = translation.perms;
            let fill = Fill {
                va,
                offset,
                read: if fetch { perms.fetch } else { perms.read },
                write: !fetch && perms.write && writable && !ram.code_pages().is_code(offset),
                global: translation.global,
                page_bits: translation.page_bits,
                context: translation.context,
            };
            self.mmu.fill(view, fetch, fill);
        }
        Ok((Place::Ram(offset), translation.context))
    }

    /// The RAM offset that instructions at `va` are fetched from; devices hold no code.
    #[inline]
    pub(crate) fn fetch_place(&mut self, va: u64) -> Result<usize, Exception> {
        self.find_code(va).map(|(offset, _)| offset)
    }

    /// The same, and the context bits of code there.
    #[inline]
    pub(super) fn find_code(&mut self, va: u64) -> Result<(usize, u32), Exception> {
        if let Some(found) = self.mmu.lookup_code(va) {
            return Ok(found);
        }
        match self.find_place(View::Current, va, 1, Access::Fetch)? {
            (Place::Ram(offset), context) => Ok((offset, context)),
            (Place::Device(_), _) => Err(self.isa.access_fault(va, Access::Fetch)),
        }
    }
}

fn crosses_page(va: u64, bytes: usize) -> bool {
    va % PAGE_SIZE + bytes as u64 > PAGE_SIZE
}

fn extend(ty: Ty, attr: MemAttr, value: u64) -> u64 {
    let unused = 64 - 8 * ty.bytes().min(8) as u32;
    if attr.signed { (((value << unused) as i64) >> unused) as u64 } else { value }
}

/// `op` of the old value and the low bits of `operand`.
fn amo<T: Scalar>(op: AmoOp, old: T, operand: u64) -> T {
    let unused = 64 - 8 * T::BYTES as u32;
    let (a, b) = (old.to_u64() << unused, operand << unused);
    let signed = |value: u64| value as i64;
    let result = match op {
        AmoOp::Swap => b,
        AmoOp::Add => a.wrapping_add(b),
        AmoOp::And => a & b,
        AmoOp::Or => a | b,
        AmoOp::Xor => a ^ b,
        AmoOp::Min => signed(a).min(signed(b)) as u64,
        AmoOp::Max => signed(a).max(signed(b)) as u64,
        AmoOp::Minu => a.min(b),
        AmoOp::Maxu => a.max(b),
        AmoOp::Clear => a & !b,
    };
    T::from_u64(result >> unused)
}
