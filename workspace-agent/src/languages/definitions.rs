//! Which language servers there are: pure data. A language has candidates, of which the first that is
//! installed is used.

use std::path::Path;

use protocol::files::HomePath;
use serde_json::{Value, json};

/// What is known of a language.
#[derive(Debug)]
pub struct Definition {
    /// Id of the language.
    pub language: &'static str,
    /// Name of the language.
    pub label: &'static str,
    /// Programs that serve it, the best first.
    pub candidates: &'static [Candidate],
    /// Names of files that are in the directory of a project.
    pub markers: &'static [&'static str],
    /// Ends of the names of its files, with LSP's id of their language.
    pub files: &'static [(&'static str, &'static str)],
    /// A command that installs a candidate.
    pub install: &'static str,
}

/// The command that installs packages of npm for the user.
macro_rules! npm_install {
    ($packages:literal) => {
        concat!(
            "sudo apt update && sudo apt install -y npm && npm install --global --prefix ~/.local ",
            $packages
        )
    };
}

/// A program that serves a language.
#[derive(Debug)]
pub struct Candidate {
    /// What users call it.
    pub name: &'static str,
    /// The program, which is searched on the `PATH`, and its arguments.
    pub argv: &'static [&'static str],
    /// Its settings, as JSON, which it asks for by section.
    pub settings: &'static str,
}

/// Every project may be a repository.
const REPOSITORY: &str = ".git";

const NODE_MARKERS: &[&str] = &["tsconfig.json", "jsconfig.json", "package.json"];

/// All languages.
pub const DEFINITIONS: &[Definition] = &[
    Definition {
        language: "python",
        label: "Python",
        candidates: &[
            Candidate {
                name: "basedpyright",
                argv: &["basedpyright-langserver", "--stdio"],
                // The default reports what most projects do not care about.
                settings: r#"{"basedpyright":{"analysis":{"typeCheckingMode":"standard",
                    "diagnosticMode":"openFilesOnly","autoImportCompletions":true}},"python":{}}"#,
            },
            Candidate {
                name: "Pyright",
                argv: &["pyright-langserver", "--stdio"],
                settings: r#"{"python":{"analysis":{"diagnosticMode":"openFilesOnly",
                    "autoImportCompletions":true}}}"#,
            },
            Candidate { name: "python-lsp-server", argv: &["pylsp"], settings: "{}" },
        ],
        markers: &["pyproject.toml", "pyrightconfig.json", "setup.py", "setup.cfg", "requirements.txt"],
        files: &[(".py", "python"), (".pyi", "python")],
        install: "sudo apt update && sudo apt install -y python3-pip && \
                  pip install --user --break-system-packages basedpyright",
    },
    Definition {
        language: "typescript",
        label: "TypeScript and JavaScript",
        candidates: &[
            Candidate {
                name: "typescript-language-server",
                argv: &["typescript-language-server", "--stdio"],
                settings: "{}",
            },
            Candidate { name: "vtsls", argv: &["vtsls", "--stdio"], settings: "{}" },
        ],
        markers: NODE_MARKERS,
        files: &[
            (".ts", "typescript"),
            (".mts", "typescript"),
            (".cts", "typescript"),
            (".tsx", "typescriptreact"),
            (".js", "javascript"),
            (".mjs", "javascript"),
            (".cjs", "javascript"),
            (".jsx", "javascriptreact"),
        ],
        install: npm_install!("typescript@5 typescript-language-server@4"),
    },
    Definition {
        language: "cpp",
        label: "C and C++",
        candidates: &[
            Candidate { name: "clangd", argv: &["clangd", "--background-index=false"], settings: "{}" },
            Candidate { name: "clangd 19", argv: &["clangd-19", "--background-index=false"], settings: "{}" },
        ],
        markers: &["compile_commands.json", "compile_flags.txt", ".clangd", "CMakeLists.txt", "Makefile"],
        files: &[
            (".c", "c"),
            (".h", "cpp"),
            (".cc", "cpp"),
            (".cpp", "cpp"),
            (".cxx", "cpp"),
            (".hh", "cpp"),
            (".hpp", "cpp"),
            (".hxx", "cpp"),
        ],
        install: "sudo apt update && sudo apt install -y clangd-19",
    },
    Definition {
        language: "go",
        label: "Go",
        candidates: &[Candidate { name: "gopls", argv: &["gopls"], settings: "{}" }],
        markers: &["go.work", "go.mod"],
        files: &[(".go", "go")],
        install: "go install golang.org/x/tools/gopls@latest",
    },
    Definition {
        language: "rust",
        label: "Rust",
        candidates: &[Candidate {
            name: "rust-analyzer",
            argv: &["rust-analyzer"],
            settings: r#"{"rust-analyzer":{"checkOnSave":true,"cachePriming":{"enable":false}}}"#,
        }],
        markers: &["Cargo.toml"],
        files: &[(".rs", "rust")],
        install: "rustup component add rust-analyzer",
    },
    Definition {
        language: "shell",
        label: "Shell",
        candidates: &[Candidate {
            name: "bash-language-server",
            argv: &["bash-language-server", "start"],
            settings: "{}",
        }],
        markers: &[],
        files: &[(".sh", "shellscript"), (".bash", "shellscript")],
        install: npm_install!("bash-language-server@5.4"),
    },
    Definition {
        language: "yaml",
        label: "YAML",
        candidates: &[Candidate {
            name: "yaml-language-server",
            argv: &["yaml-language-server", "--stdio"],
            settings: r#"{"yaml":{"validate":true,"hover":true,"completion":true},
                "redhat":{"telemetry":{"enabled":false}}}"#,
        }],
        markers: &[],
        files: &[(".yaml", "yaml"), (".yml", "yaml")],
        install: npm_install!("yaml-language-server@1"),
    },
    Definition {
        language: "json",
        label: "JSON",
        candidates: &[Candidate {
            name: "vscode-json-language-server",
            argv: &["vscode-json-language-server", "--stdio"],
            settings: r#"{"json":{"validate":{"enable":true},"format":{"enable":true}}}"#,
        }],
        markers: &[],
        files: &[(".json", "json"), (".jsonc", "jsonc")],
        install: npm_install!("vscode-langservers-extracted@4"),
    },
    Definition {
        language: "css",
        label: "CSS",
        candidates: &[Candidate {
            name: "vscode-css-language-server",
            argv: &["vscode-css-language-server", "--stdio"],
            settings: r#"{"css":{"validate":true},"scss":{"validate":true},"less":{"validate":true}}"#,
        }],
        markers: NODE_MARKERS,
        files: &[(".css", "css"), (".scss", "scss"), (".less", "less")],
        install: npm_install!("vscode-langservers-extracted@4"),
    },
    Definition {
        language: "html",
        label: "HTML",
        candidates: &[Candidate {
            name: "vscode-html-language-server",
            argv: &["vscode-html-language-server", "--stdio"],
            settings: r#"{"html":{"validate":{"scripts":true,"styles":true}},"css":{},"javascript":{}}"#,
        }],
        markers: NODE_MARKERS,
        files: &[(".html", "html"), (".htm", "html")],
        install: npm_install!("vscode-langservers-extracted@4"),
    },
];

impl Definition {
    /// The language with an id.
    pub fn of_language(language: &str) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|definition| definition.language == language)
    }

    /// The language of a file.
    pub fn of_file(path: &HomePath) -> Option<&'static Self> {
        DEFINITIONS.iter().find(|definition| definition.id_of_file(path).is_some())
    }

    /// LSP's id of the language of a file.
    pub fn id_of_file(&self, path: &HomePath) -> Option<&'static str> {
        let name = path.name()?.to_ascii_lowercase();
        self.files.iter().find(|(end, _)| name.len() > end.len() && name.ends_with(end)).map(|(_, id)| *id)
    }

    /// The directory of the project that a file belongs to: the closest one with a marker, else the
    /// repository, else the directory of the home that contains it. `None`: the file is directly in the home,
    /// or in a hidden directory, of which a server would read too much.
    pub fn project_of(&self, home: &Path, path: &HomePath) -> Option<HomePath> {
        if path.as_str().split('/').any(|segment| segment.starts_with('.')) {
            return None;
        }
        let has = |directory: &HomePath, name: &str| home.join(directory.as_str()).join(name).exists();
        let directories = || {
            let above = std::iter::successors(path.parent(), HomePath::parent);
            above.take_while(|directory| !directory.is_home())
        };
        directories()
            .find(|directory| self.markers.iter().any(|marker| has(directory, marker)))
            .or_else(|| directories().find(|directory| has(directory, REPOSITORY)))
            .or_else(|| directories().last())
    }
}

impl Candidate {
    /// Its options at the start. The servers of VS Code format only if they are asked to then.
    pub fn start_options(&self) -> Value {
        let is_of_vs_code = self.argv[0].starts_with("vscode-");
        if is_of_vs_code { json!({ "provideFormatter": true }) } else { Value::Null }
    }

    /// The settings of a section, such as `python.analysis`. Null if there are none.
    pub fn section(&self, section: &str) -> Value {
        let all: Value = serde_json::from_str(self.settings).unwrap_or_default();
        if section.is_empty() {
            return all;
        }
        section.split('.').fold(all, |settings, name| settings.get(name).cloned().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn path(text: &str) -> HomePath {
        HomePath::parse(text).expect("a path")
    }

    #[test]
    fn definitions_are_consistent() {
        let mut ends = BTreeSet::new();
        for definition in DEFINITIONS {
            for (end, _) in definition.files {
                assert!(ends.insert(end), "{end} has two languages");
            }
            assert!(!definition.install.is_empty() && !definition.candidates.is_empty());
            for candidate in definition.candidates {
                assert!(serde_json::from_str::<Value>(candidate.settings).is_ok_and(|all| all.is_object()));
                assert!(!candidate.argv.is_empty());
            }
        }
    }

    #[test]
    fn files_have_languages() {
        let language = |name| Definition::of_file(&path(name)).map(|definition| definition.language);
        assert_eq!(language("a/b.PY"), Some("python"));
        assert_eq!(language("a.tsx"), Some("typescript"));
        assert_eq!(language("py"), None);
        assert_eq!(language("a/.py"), None);
        assert_eq!(language(""), None);
    }

    #[test]
    fn settings_are_found_by_section() {
        let json = Definition::of_language("json").expect("a language");
        assert_eq!(json.candidates[0].section("json.validate"), json!({ "enable": true }));
        assert_eq!(json.candidates[0].start_options(), json!({ "provideFormatter": true }));
        assert_eq!(json.candidates[0].section("http"), Value::Null);
        assert_eq!(json.candidates[0].section("json.validate.enable.x"), Value::Null);
    }

    #[test]
    fn project_has_a_marker() {
        let home = tempfile::tempdir().expect("a directory");
        for directory in ["mono/.git", "mono/one/src", "mono/two", "plain/deep", ".hidden/x"] {
            std::fs::create_dir_all(home.path().join(directory)).expect("a directory");
        }
        std::fs::write(home.path().join("mono/one/pyproject.toml"), "").expect("a file");
        let python = Definition::of_language("python").expect("a language");
        let project = |file| python.project_of(home.path(), &path(file)).map(|found| found.to_string());
        assert_eq!(project("mono/one/src/a.py").as_deref(), Some("mono/one"));
        assert_eq!(project("mono/two/a.py").as_deref(), Some("mono"));
        assert_eq!(project("plain/deep/a.py").as_deref(), Some("plain"));
        assert_eq!(project("a.py"), None);
        assert_eq!(project(".hidden/x/a.py"), None);
    }
}
