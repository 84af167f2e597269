//! Reads fields of a fixed layout off the front of a stored value.

use mailrook_kv::KvError;

/// What is wrong with a stored value or key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damage(pub &'static str);

impl From<Damage> for KvError {
    fn from(damage: Damage) -> KvError {
        KvError::Damaged(damage.0.to_owned())
    }
}

/// What is left of a value.
pub(crate) struct Fields<'a>(&'a [u8]);

macro_rules! number {
    ($($name:ident)*) => {
        $(pub(crate) fn $name(&mut self) -> Result<$name, Damage> {
            self.array().map($name::from_le_bytes)
        })*
    };
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields(bytes)
    }

    number!(u8 u16 u32 u64 i64);

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Damage> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(Damage("a value is cut short"))?;
        self.0 = rest;
        Ok(*head)
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Result<&'a [u8], Damage> {
        let (head, rest) = self
            .0
            .split_at_checked(len)
            .ok_or(Damage("a value is cut short"))?;
        self.0 = rest;
        Ok(head)
    }

    /// All that is left.
    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// Insists that nothing is left.
    pub(crate) fn end(self) -> Result<(), Damage> {
        if self.0.is_empty() {
            Ok(())
        } else {
            Err(Damage("a value is longer than its layout"))
        }
    }

    /// Insists that the value is of the one version known so far.
    pub(crate) fn version_1(&mut self) -> Result<(), Damage> {
        if self.u8()? == 1 {
            Ok(())
        } else {
            Err(Damage(
                "a value is of a version that this build does not know",
            ))
        }
    }
}
