//! Attributes that few cells have: the style and colour of an underline, and links. Cells hold a number.

use std::collections::HashMap;

/// Most kinds of further attributes, and most links, before those that no cell has are removed.
const MIN_CAPACITY: usize = 1024;
/// Most kinds and links altogether. Text beyond that is shown without.
const MAX_ENTRIES: usize = 64 * 1024;
/// Longest target of a link, with its name. A longer link is shown as text.
const MAX_LINK_BYTES: usize = 4 * 1024;
/// Most bytes of all links.
const MAX_LINKS_BYTES: usize = 1024 * 1024;

/// Further attributes of a cell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Extra {
    /// 0: no underline of its own; 1 single, 2 double, 3 curly, 4 dotted, 5 dashed.
    pub underline: u8,
    /// Colour of the underline, with the bits of other colours.
    pub color: u32,
    /// Number of the link. 0: none.
    pub link: u32,
}

impl Extra {
    /// Whether a cell needs no further attributes for this.
    pub fn is_empty(self) -> bool {
        self.underline == 0 && self.link == 0
    }
}

/// A link (OSC 8).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Link {
    /// The name that the program gave the link, so that its parts belong together. May be empty.
    pub name: String,
    /// The link's target.
    pub target: String,
}

/// All further attributes and links that are in use.
#[derive(Debug, Default)]
pub struct Extras {
    kinds: Table<Extra>,
    links: Table<Link>,
    link_bytes: usize,
    /// Links that were refused since the last collection.
    refused_links: usize,
}

/// Values by number, from 1.
#[derive(Debug)]
struct Table<T> {
    values: Vec<Option<T>>,
    numbers: HashMap<T, u32>,
    free: Vec<u32>,
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self { values: Vec::new(), numbers: HashMap::new(), free: Vec::new() }
    }
}

impl<T: Clone + Eq + std::hash::Hash> Table<T> {
    fn get(&self, number: u32) -> Option<&T> {
        self.values.get(number.checked_sub(1)? as usize)?.as_ref()
    }

    fn insert(&mut self, value: T) -> u32 {
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            self.values.len() as u32
        });
        self.values[number as usize - 1] = Some(value.clone());
        self.numbers.insert(value, number);
        number
    }

    fn retain(&mut self, is_used: impl Fn(u32) -> bool) {
        for (number, slot) in (1..).zip(&mut self.values) {
            if !is_used(number)
                && let Some(value) = slot.take()
            {
                self.numbers.remove(&value);
                self.free.push(number);
            }
        }
    }
}

impl Extras {
    /// The attributes with a number.
    pub fn get(&self, number: u32) -> Extra {
        self.kinds.get(number).copied().unwrap_or_default()
    }

    /// The link with a number.
    pub fn link(&self, number: u32) -> Option<&Link> {
        self.links.get(number)
    }

    /// Whether [`Self::collect`] should be called before something new is added.
    pub fn is_full(&self) -> bool {
        // The tables double between two collections.
        let is_large =
            |count: usize, free: usize| count >= MIN_CAPACITY && free == 0 && count.is_power_of_two();
        is_large(self.kinds.values.len(), self.kinds.free.len())
            || is_large(self.links.values.len(), self.links.free.len())
            || self.refused_links >= MIN_CAPACITY
    }

    /// The number of attributes that are in use already.
    pub fn find(&self, extra: Extra) -> Option<u32> {
        if extra.is_empty() { Some(0) } else { self.kinds.numbers.get(&extra).copied() }
    }

    /// Adds attributes that [`Self::find`] does not find. Returns 0 if there are too many.
    pub fn add(&mut self, extra: Extra) -> u32 {
        if self.kinds.numbers.len() >= MAX_ENTRIES { 0 } else { self.kinds.insert(extra) }
    }

    /// The number of a link that is in use already.
    pub fn find_link(&self, link: &Link) -> Option<u32> {
        self.links.numbers.get(link).copied()
    }

    /// Adds a link that [`Self::find_link`] does not find. Returns 0 if it is too long, or if there are too
    /// many.
    pub fn add_link(&mut self, link: Link) -> u32 {
        let bytes = link.name.len() + link.target.len();
        if bytes > MAX_LINK_BYTES
            || self.link_bytes + bytes > MAX_LINKS_BYTES
            || self.links.numbers.len() >= MAX_ENTRIES
        {
            self.refused_links += 1;
            return 0;
        }
        self.link_bytes += bytes;
        self.links.insert(link)
    }

    /// Removes what is not among `used`, which are numbers of attributes, and not `pen`.
    pub fn collect(&mut self, used: &[bool], pen: Extra) {
        let is_used = |number: u32| used.get(number as usize).copied().unwrap_or(false);
        self.kinds.retain(is_used);
        let links: std::collections::HashSet<u32> =
            self.kinds.values.iter().flatten().chain([&pen]).map(|extra| extra.link).collect();
        self.links.retain(|number| links.contains(&number));
        self.refused_links = 0;
        self.link_bytes =
            self.links.values.iter().flatten().map(|link| link.name.len() + link.target.len()).sum();
    }

    /// Bytes of all links.
    #[cfg(test)]
    pub fn link_bytes(&self) -> usize {
        self.link_bytes
    }

    /// Highest number of attributes.
    pub fn highest(&self) -> usize {
        self.kinds.values.len()
    }
}
