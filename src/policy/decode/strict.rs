//! serde over JSON text, with the path of an error, and stricter than serde.
//!
//! 1. A list is no object: serde alone would read it as the fields of a
//!    struct, in order.
//! 2. A name stands once in an object, also where the names are the user's.
//! 3. A value of a list of names is a name: `{"reject": null}` is not
//!    `"reject"`.
//!
//! The path costs nothing as long as nothing is wrong: it is put together
//! while the error is on its way out.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Into an object.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// Why a text is no value of the type.
#[derive(Debug)]
pub struct Fault {
    /// Where, from the root.
    pub steps: Vec<Step>,
    /// What serde says, without the line and column.
    pub message: String,
}

/// Reads a text.
///
/// # Errors
/// The first thing that is wrong.
pub fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, Fault> {
    let trail = Trail::default();
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = T::deserialize(Strict { inner: &mut reader, trail: &trail })
        .and_then(|value| reader.end().map(|()| value));
    value.map_err(|error| {
        let mut steps = trail.0.into_inner();
        steps.reverse();
        let message = error.to_string();
        let position = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(&position).unwrap_or(&message).to_owned();
        Fault { steps, message }
    })
}

/// The steps to an error, the innermost first.
#[derive(Debug, Default)]
struct Trail(RefCell<Vec<Step>>);

impl Trail {
    fn push(&self, step: Step) {
        self.0.borrow_mut().push(step);
    }
}

/// Wraps a deserializer, and through visitors and seeds whatever comes out of
/// it.
struct Strict<'t, D> {
    inner: D,
    trail: &'t Trail,
}

/// What has nothing inside it that could go wrong further down.
macro_rules! leaves {
    ($($method:ident)+) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
            self.inner.$method(visitor)
        }
    )+ };
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Strict<'_, D> {
    type Error = D::Error;

    leaves! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_f32 deserialize_f64
        deserialize_char deserialize_str deserialize_string deserialize_bytes deserialize_byte_buf
        deserialize_unit deserialize_identifier deserialize_ignored_any
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_option(Inside { visitor, trail: self.trail, names: Names::Fixed })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_seq(Inside { visitor, trail: self.trail, names: Names::Fixed })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        self.inner.deserialize_map(Inside { visitor, trail: self.trail, names: Names::Free })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // Not `deserialize_struct`, which would take a list; what a struct
        // says about a name that stands twice is enough.
        self.inner.deserialize_map(Inside { visitor, trail: self.trail, names: Names::Fixed })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_any(Choice { visitor, variants, trail: self.trail })
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.inner.deserialize_unit_struct(name, visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _length: usize, visitor: V) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _length: usize,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        self.deserialize_seq(visitor)
    }
}

/// Whose the names of an object are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    /// Those of a type, which tells two of a kind itself.
    Fixed,
    /// The user's.
    Free,
}

/// A visitor whose visits go on in [`Strict`].
struct Inside<'t, V> {
    visitor: V,
    trail: &'t Trail,
    names: Names,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Inside<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.visitor.expecting(f)
    }

    fn visit_none<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_none()
    }

    fn visit_unit<E: Error>(self) -> Result<V::Value, E> {
        self.visitor.visit_unit()
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<V::Value, D::Error> {
        self.visitor.visit_some(Strict { inner: deserializer, trail: self.trail })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<V::Value, A::Error> {
        self.visitor.visit_seq(Items { items, trail: self.trail, index: 0 })
    }

    fn visit_map<A: MapAccess<'de>>(self, entries: A) -> Result<V::Value, A::Error> {
        let seen = (self.names == Names::Free).then(HashSet::new);
        self.visitor.visit_map(Entries { entries, trail: self.trail, key: Cow::Borrowed(""), seen })
    }
}

struct Inner<'t, S> {
    seed: S,
    trail: &'t Trail,
}

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for Inner<'_, S> {
    type Value = S::Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<S::Value, D::Error> {
        self.seed.deserialize(Strict { inner: deserializer, trail: self.trail })
    }
}

struct Items<'t, A> {
    items: A,
    trail: &'t Trail,
    index: usize,
}

impl<'de, A: SeqAccess<'de>> SeqAccess<'de> for Items<'_, A> {
    type Error = A::Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        let item = self.items.next_element_seed(Inner { seed, trail: self.trail });
        if item.is_err() {
            self.trail.push(Step::Index(self.index));
        }
        self.index = self.index.saturating_add(1);
        item
    }
}

struct Entries<'t, 'de, A> {
    entries: A,
    trail: &'t Trail,
    /// The name of the last entry.
    key: Cow<'de, str>,
    /// The names that were there, where nobody else looks for a second one.
    seen: Option<HashSet<Cow<'de, str>>>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Entries<'_, 'de, A> {
    type Error = A::Error;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, A::Error> {
        // The name first and by itself: code for each type of key would be
        // much code.
        let Some(Key(key)) = self.entries.next_key()? else { return Ok(None) };
        self.key = key;
        let name = seed.deserialize(StrDeserializer::new(&self.key));
        if name.is_err() {
            self.trail.push(Step::Key(self.key.to_string()));
        } else if let Some(seen) = &mut self.seen
            && !seen.insert(self.key.clone())
        {
            return Err(A::Error::custom("a name stands twice in one object"));
        }
        name.map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.entries.next_value_seed(Inner { seed, trail: self.trail });
        if value.is_err() {
            self.trail.push(Step::Key(self.key.to_string()));
        }
        value
    }
}

/// A name, borrowed where the text has it as it is.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor).map(Self)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

/// One of several: a name, or an object whose one name it is.
struct Choice<'t, V> {
    visitor: V,
    variants: &'static [&'static str],
    trail: &'t Trail,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Choice<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one of")?;
        for (index, variant) in self.variants.iter().enumerate() {
            write!(f, "{} `{variant}`", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<V::Value, E> {
        self.visitor.visit_enum(StrDeserializer::new(name))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<V::Value, A::Error> {
        match entries.next_key::<String>()? {
            Some(name) => self.visitor.visit_enum(Chosen { entries, name, trail: self.trail }),
            None => Err(A::Error::invalid_value(Unexpected::Map, &self)),
        }
    }
}

struct Chosen<'t, A> {
    entries: A,
    name: String,
    trail: &'t Trail,
}

impl<'de, A: MapAccess<'de>> EnumAccess<'de> for Chosen<'_, A> {
    type Error = A::Error;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), A::Error> {
        let variant = seed.deserialize(StrDeserializer::<A::Error>::new(&self.name))?;
        Ok((variant, self))
    }
}

impl<'de, A: MapAccess<'de>> VariantAccess<'de> for Chosen<'_, A> {
    type Error = A::Error;

    fn unit_variant(self) -> Result<(), A::Error> {
        Err(A::Error::invalid_type(Unexpected::Map, &"the name alone, as a string"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(mut self, seed: S) -> Result<S::Value, A::Error> {
        let value = self.entries.next_value_seed(Inner { seed, trail: self.trail });
        if value.is_err() {
            self.trail.push(Step::Key(self.name));
        } else if self.entries.next_key::<IgnoredAny>()?.is_some() {
            return Err(A::Error::invalid_value(Unexpected::Map, &"an object with one name"));
        }
        value
    }

    fn tuple_variant<V: Visitor<'de>>(self, _length: usize, _visitor: V) -> Result<V::Value, A::Error> {
        Err(A::Error::invalid_type(Unexpected::TupleVariant, &"a name or an object"))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        _fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, A::Error> {
        Err(A::Error::invalid_type(Unexpected::StructVariant, &"a name or an object"))
    }
}
