//! Enums of which each variant has one word: in JSON, in the store's rows that hold texts, for people.

/// Makes an enum from lines of variant and word, with everything that is read off the words.
///
/// Variants are stored by their place where they are not stored by their word: add at the end then.
macro_rules! worded {
    ($(#[$of:meta])* pub enum $name:ident { $($(#[$doc:meta])* $variant:ident $word:tt)* }) => {
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash,
            serde::Serialize, serde::Deserialize, utoipa::ToSchema,
        )]
        $(#[$of])*
        pub enum $name { $($(#[$doc])* #[serde(rename = $word)] $variant,)* }

        impl $name {
            /// All of them, in order.
            pub fn all() -> impl Iterator<Item = $name> {
                [$($name::$variant,)*].into_iter()
            }

            /// Its word.
            pub fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }

            /// The one with this word.
            pub fn named(word: &str) -> Option<$name> {
                $name::all().find(|one| one.word() == word)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

pub(in crate::manage) use worded;
