//! Translates between LSP and Burrow's messages. Servers answer in many forms; clients get one, in which
//! everything is bounded. Pure.

use std::path::Path;

use lsp_types::{
    CodeActionOrCommand, CompletionItem as LspItem, CompletionTextEdit, DiagnosticSeverity, DiagnosticTag,
    DocumentSymbolResponse, Documentation, GotoDefinitionResponse, Hover, HoverContents, InsertTextFormat,
    MarkedString, MarkupContent, MarkupKind, NumberOrString, OneOf, ParameterLabel, SignatureHelp,
    SignatureInformation, SymbolKind, WorkspaceSymbolResponse,
};
use protocol::languages::{
    CodeAction, CompletionItem, DefinitionKind, Diagnostic, DocumentSymbol, FileDiagnostics, LanguageAnswer,
    MAX_ACTIONS, MAX_COMPLETIONS, MAX_FILE_DIAGNOSTICS, MAX_LOCATIONS, MAX_SYMBOLS, RangeEdit, Severity,
    Signature, TextLocation, TextPosition, TextRange, WorkspaceSymbol,
};
use serde_json::{Value, json};

use super::{
    text::{line_before, truncate},
    uris::{home_path_of, path_of},
    workspace_edit::{BadEdit, range_edit},
};

/// Most bytes of Markdown about one thing.
const MAX_MARKDOWN_BYTES: usize = 32 * 1024;
/// Most bytes of a text of one line.
const MAX_LABEL_BYTES: usize = 1024;
/// Most bytes of the text that a proposal inserts.
const MAX_INSERT_BYTES: usize = 16 * 1024;
/// Most bytes of the message of a diagnostic.
const MAX_MESSAGE_BYTES: usize = 4 * 1024;
/// Most edits of a proposal beside its own.
const MAX_EDITS: usize = 20;
/// Most edits of one text.
const MAX_TEXT_EDITS: usize = 200_000;
/// Most signatures of a call.
const MAX_SIGNATURES: usize = 50;
/// LSP's kinds of proposals, from 1.
const COMPLETION_KINDS: [&str; 25] = [
    "text",
    "method",
    "function",
    "constructor",
    "field",
    "variable",
    "class",
    "interface",
    "module",
    "property",
    "unit",
    "value",
    "enum",
    "keyword",
    "snippet",
    "color",
    "file",
    "reference",
    "folder",
    "enum_member",
    "constant",
    "struct",
    "event",
    "operator",
    "type_parameter",
];

/// LSP's kinds of symbols, from 1.
const SYMBOL_KINDS: [&str; 26] = [
    "file",
    "module",
    "namespace",
    "package",
    "class",
    "method",
    "property",
    "field",
    "constructor",
    "enum",
    "interface",
    "function",
    "variable",
    "constant",
    "string",
    "number",
    "boolean",
    "array",
    "object",
    "key",
    "null",
    "enum_member",
    "struct",
    "event",
    "operator",
    "type_parameter",
];
/// Kinds of code actions that clients show.
const ACTION_KINDS: [&str; 9] = [
    "",
    "quickfix",
    "refactor",
    "refactor.extract",
    "refactor.inline",
    "refactor.rewrite",
    "source",
    "source.organizeImports",
    "source.fixAll",
];

/// What the agent can do, as servers want to know it.
pub fn client_capabilities() -> Value {
    let markup = json!(["markdown", "plaintext"]);
    let links = json!({ "linkSupport": true });
    json!({
        "general": { "positionEncodings": ["utf-16"] },
        "workspace": {
            "workspaceFolders": true,
            "configuration": true,
            "applyEdit": true,
            "executeCommand": {},
            "symbol": { "symbolKind": { "valueSet": (1..=SYMBOL_KINDS.len()).collect::<Vec<_>>() } },
            // No operations on files.
            "workspaceEdit": {
                "documentChanges": true,
                "resourceOperations": [],
                "failureHandling": "abort",
            },
        },
        "window": { "workDoneProgress": true },
        "textDocument": {
            "synchronization": { "didSave": true },
            "publishDiagnostics": { "versionSupport": true, "tagSupport": { "valueSet": [1, 2] } },
            "completion": {
                "contextSupport": true,
                "completionItem": {
                    "snippetSupport": true,
                    "documentationFormat": markup,
                    "deprecatedSupport": true,
                    "preselectSupport": true,
                    "labelDetailsSupport": true,
                    "tagSupport": { "valueSet": [1] },
                    "resolveSupport": { "properties": ["documentation", "detail", "additionalTextEdits"] },
                },
            },
            "hover": { "contentFormat": markup },
            "signatureHelp": {
                "signatureInformation": {
                    "documentationFormat": markup,
                    "activeParameterSupport": true,
                    "parameterInformation": { "labelOffsetSupport": true },
                },
            },
            "definition": links,
            "declaration": links,
            "typeDefinition": links,
            "implementation": links,
            "references": {},
            "documentSymbol": {
                "hierarchicalDocumentSymbolSupport": true,
                "symbolKind": { "valueSet": (1..=SYMBOL_KINDS.len()).collect::<Vec<_>>() },
            },
            "formatting": {},
            "rename": { "prepareSupport": true },
            "codeAction": {
                "codeActionLiteralSupport": { "codeActionKind": { "valueSet": ACTION_KINDS } },
                "isPreferredSupport": true,
                "disabledSupport": true,
                "dataSupport": true,
                "resolveSupport": { "properties": ["edit", "command"] },
            },
        },
    })
}

/// The request for places that belong to a name.
pub fn definition_method(kind: DefinitionKind) -> &'static str {
    match kind {
        DefinitionKind::Definition => "textDocument/definition",
        DefinitionKind::Declaration => "textDocument/declaration",
        DefinitionKind::Type => "textDocument/typeDefinition",
        DefinitionKind::Implementation => "textDocument/implementation",
    }
}

/// A position as LSP has it.
pub fn lsp_position(position: TextPosition) -> Value {
    json!({ "line": position.line.saturating_sub(1), "character": position.column })
}

/// A range as LSP has it.
pub fn lsp_range(range: TextRange) -> Value {
    json!({ "start": lsp_position(range.start), "end": lsp_position(range.end) })
}

/// A position of LSP.
pub fn position(position: lsp_types::Position) -> TextPosition {
    TextPosition { line: position.line.saturating_add(1), column: position.character }
}

fn range(range: lsp_types::Range) -> TextRange {
    let (start, end) = (position(range.start), position(range.end));
    TextRange { start, end: end.max(start) }
}

/// The diagnostics of a file.
pub fn file_diagnostics(
    path: String,
    language: &str,
    version: Option<String>,
    mut diagnostics: Vec<lsp_types::Diagnostic>,
) -> FileDiagnostics {
    diagnostics.sort_by_key(|diagnostic| (diagnostic.range.start.line, diagnostic.range.start.character));
    let truncated = diagnostics.len() > MAX_FILE_DIAGNOSTICS;
    diagnostics.truncate(MAX_FILE_DIAGNOSTICS);
    FileDiagnostics {
        path,
        language: language.to_owned(),
        version,
        diagnostics: diagnostics.into_iter().map(diagnostic).collect(),
        truncated,
    }
}

fn diagnostic(diagnostic: lsp_types::Diagnostic) -> Diagnostic {
    let has_tag = |tag| diagnostic.tags.as_ref().is_some_and(|tags| tags.contains(&tag));
    let code = diagnostic.code.as_ref().map(|code| match code {
        NumberOrString::Number(number) => number.to_string(),
        NumberOrString::String(text) => text.clone(),
    });
    Diagnostic {
        range: range(diagnostic.range),
        severity: match diagnostic.severity {
            Some(DiagnosticSeverity::WARNING) => Severity::Warning,
            Some(DiagnosticSeverity::INFORMATION) => Severity::Info,
            Some(DiagnosticSeverity::HINT) => Severity::Hint,
            _ => Severity::Error,
        },
        unnecessary: has_tag(DiagnosticTag::UNNECESSARY),
        deprecated: has_tag(DiagnosticTag::DEPRECATED),
        message: truncate(diagnostic.message, MAX_MESSAGE_BYTES),
        source: diagnostic.source.map(|source| truncate(source, MAX_LABEL_BYTES)),
        code: code.map(|code| truncate(code, MAX_LABEL_BYTES)),
    }
}

/// The proposals of a completion that go with the text before the position.
#[derive(Debug, Default)]
pub struct Proposals {
    /// What the server has sent of each.
    pub raw: Vec<Value>,
    /// What clients get of each. Their ids are empty.
    pub items: Vec<CompletionItem>,
    /// Whether there are more, or others after the next character.
    pub is_incomplete: bool,
}

/// Reads the result of `textDocument/completion`.
pub fn proposals(mut result: Value, text: &str, at: TextPosition) -> Proposals {
    let is_incomplete = result["isIncomplete"] == true;
    let list = match &mut result {
        Value::Array(list) => std::mem::take(list),
        Value::Object(list) => match list.remove("items") {
            Some(Value::Array(items)) => items,
            _ => return Proposals::default(),
        },
        _ => return Proposals::default(),
    };
    let line = line_before(text, at);
    let mut found: Vec<(bool, String, Value, CompletionItem)> = Vec::new();
    for raw in list {
        let Ok(item) = serde_json::from_value::<LspItem>(raw.clone()) else { continue };
        let sort = item.sort_text.clone().unwrap_or_else(|| item.label.clone());
        let item = completion_item(item);
        let typed = typed_text(line, item.range, at);
        let compared = item.filter.as_deref().unwrap_or(&item.label);
        if is_subsequence(typed, compared) {
            found.push((!has_prefix(compared, typed), sort, raw, item));
        }
    }
    found.sort_by(|(other, sort, ..), (other_2, sort_2, ..)| (other, sort).cmp(&(other_2, sort_2)));
    let is_incomplete = is_incomplete || found.len() > MAX_COMPLETIONS;
    found.truncate(MAX_COMPLETIONS);
    let (raw, items) = found.into_iter().map(|(_, _, raw, item)| (raw, item)).unzip();
    Proposals { raw, items, is_incomplete }
}

/// What the user has typed of a proposal.
fn typed_text(line: &str, range: Option<TextRange>, at: TextPosition) -> &str {
    let word = || {
        let is_word = |character: char| character.is_alphanumeric() || matches!(character, '_' | '$');
        line.rfind(|character| !is_word(character)).map_or(line, |end| {
            let width = line[end..].chars().next().map_or(0, char::len_utf8);
            &line[end + width..]
        })
    };
    match range {
        Some(range) if range.start.line == at.line => {
            let before = line_before(line, TextPosition { line: 1, column: range.start.column });
            &line[before.len()..]
        }
        _ => word(),
    }
}

fn is_subsequence(typed: &str, text: &str) -> bool {
    let mut characters = text.chars().flat_map(char::to_lowercase);
    typed.chars().flat_map(char::to_lowercase).all(|wanted| characters.any(|found| found == wanted))
}

fn has_prefix(text: &str, prefix: &str) -> bool {
    let mut characters = text.chars().flat_map(char::to_lowercase);
    prefix.chars().flat_map(char::to_lowercase).all(|wanted| characters.next() == Some(wanted))
}

/// A proposal, without an id.
pub fn completion_item(item: LspItem) -> CompletionItem {
    #[allow(deprecated, reason = "servers still send it")]
    let is_deprecated = item.deprecated == Some(true)
        || item.tags.as_ref().is_some_and(|tags| tags.contains(&lsp_types::CompletionItemTag::DEPRECATED));
    let (insert, edited) = match item.text_edit {
        Some(CompletionTextEdit::Edit(edit)) => (edit.new_text, Some(range(edit.range))),
        Some(CompletionTextEdit::InsertAndReplace(edit)) => (edit.new_text, Some(range(edit.insert))),
        None => (item.insert_text.unwrap_or_else(|| item.label.clone()), None),
    };
    let kind = serde_json::to_value(item.kind).ok().and_then(|kind| kind.as_u64());
    let kind = kind.and_then(|kind| COMPLETION_KINDS.get((kind as usize).checked_sub(1)?));
    let label = |text: String| truncate(text, MAX_LABEL_BYTES);
    let details = item.label_details;
    CompletionItem {
        id: String::new(),
        label: label(item.label),
        kind: (*kind.unwrap_or(&"text")).to_owned(),
        detail: details.as_ref().and_then(|details| details.detail.clone()).or(item.detail).map(label),
        description: details.and_then(|details| details.description).map(label),
        documentation: item.documentation.map(documentation),
        insert: truncate(insert, MAX_INSERT_BYTES),
        is_snippet: item.insert_text_format == Some(InsertTextFormat::SNIPPET),
        range: edited,
        filter: item.filter_text.map(label),
        preselect: item.preselect == Some(true),
        deprecated: is_deprecated,
        edits: item.additional_text_edits.unwrap_or_default().into_iter().take(MAX_EDITS).map(edit).collect(),
    }
}

fn edit(edit: lsp_types::TextEdit) -> RangeEdit {
    RangeEdit { range: range(edit.range), text: edit.new_text }
}

fn documentation(documentation: Documentation) -> String {
    match documentation {
        Documentation::String(text) => truncate(text, MAX_MARKDOWN_BYTES),
        Documentation::MarkupContent(content) => markup(content),
    }
}

fn markup(content: MarkupContent) -> String {
    let text = truncate(content.value, MAX_MARKDOWN_BYTES);
    if content.kind == MarkupKind::PlainText && !text.is_empty() { fence("text", &text) } else { text }
}

/// A block of code in Markdown, whatever the code contains.
fn fence(language: &str, code: &str) -> String {
    let mut ticks = "```".to_owned();
    while code.contains(&ticks) {
        ticks.push('`');
    }
    let language: String = language.chars().filter(char::is_ascii_alphanumeric).collect();
    format!("{ticks}{language}\n{code}\n{ticks}")
}

/// Reads the result of `textDocument/hover`.
pub fn hover(result: Value) -> LanguageAnswer {
    let Ok(Some(found)) = serde_json::from_value::<Option<Hover>>(result) else {
        return LanguageAnswer::Hover { markdown: String::new(), range: None };
    };
    let markdown = match found.contents {
        HoverContents::Scalar(text) => marked(text),
        HoverContents::Array(texts) => texts.into_iter().map(marked).collect::<Vec<_>>().join("\n\n"),
        HoverContents::Markup(content) => markup(content),
    };
    LanguageAnswer::Hover { markdown: truncate(markdown, MAX_MARKDOWN_BYTES), range: found.range.map(range) }
}

fn marked(text: MarkedString) -> String {
    match text {
        MarkedString::String(text) => truncate(text, MAX_MARKDOWN_BYTES),
        MarkedString::LanguageString(code) => {
            fence(&code.language, &truncate(code.value, MAX_MARKDOWN_BYTES))
        }
    }
}

/// Reads the result of `textDocument/signatureHelp`.
pub fn signature(result: Value) -> LanguageAnswer {
    let Ok(Some(help)) = serde_json::from_value::<Option<SignatureHelp>>(result) else {
        return LanguageAnswer::Signature { signatures: Vec::new(), active: 0 };
    };
    let active = help.active_signature.unwrap_or(0) as usize;
    let parameter = help.active_parameter;
    let signatures: Vec<Signature> = help
        .signatures
        .into_iter()
        .take(MAX_SIGNATURES)
        .map(|signature| one_signature(signature, parameter))
        .collect();
    LanguageAnswer::Signature { active: active.min(signatures.len().saturating_sub(1)), signatures }
}

fn one_signature(signature: SignatureInformation, of_all: Option<u32>) -> Signature {
    let index = signature.active_parameter.or(of_all).unwrap_or(0) as usize;
    let parameter = signature.parameters.unwrap_or_default().into_iter().nth(index);
    let label = truncate(signature.label, MAX_LABEL_BYTES);
    let active_parameter = parameter.as_ref().and_then(|parameter| match &parameter.label {
        ParameterLabel::LabelOffsets([start, end]) => Some((*start, *end)),
        ParameterLabel::Simple(name) => {
            let start = label[..label.find(name.as_str())?].encode_utf16().count() as u32;
            Some((start, start + name.encode_utf16().count() as u32))
        }
    });
    Signature {
        label,
        documentation: signature.documentation.map(documentation),
        active_parameter,
        parameter_documentation: parameter.and_then(|parameter| parameter.documentation).map(documentation),
    }
}

/// Reads a result that is one place, several, or links to them.
pub fn locations(home: &Path, result: Value) -> LanguageAnswer {
    let found = serde_json::from_value::<Option<GotoDefinitionResponse>>(result).ok().flatten();
    let places: Vec<(lsp_types::Uri, lsp_types::Range)> = match found {
        None => Vec::new(),
        Some(GotoDefinitionResponse::Scalar(place)) => vec![(place.uri, place.range)],
        Some(GotoDefinitionResponse::Array(places)) => {
            places.into_iter().map(|place| (place.uri, place.range)).collect()
        }
        Some(GotoDefinitionResponse::Link(links)) => {
            links.into_iter().map(|link| (link.target_uri, link.target_selection_range)).collect()
        }
    };
    let mut locations: Vec<TextLocation> = Vec::new();
    for (uri, place) in places {
        let Some(location) = location(home, uri.as_str(), place) else { continue };
        if locations.len() < MAX_LOCATIONS && locations.last() != Some(&location) {
            locations.push(location);
        }
    }
    LanguageAnswer::Locations { locations }
}

fn location(home: &Path, uri: &str, place: lsp_types::Range) -> Option<TextLocation> {
    let (path, in_home) = match home_path_of(home, uri) {
        Some(path) => (path.to_string(), true),
        None => (path_of(uri)?.to_str()?.to_owned(), false),
    };
    Some(TextLocation { path, in_home, range: range(place), line: None })
}

/// Reads the result of `textDocument/documentSymbol`.
pub fn symbols(result: Value) -> LanguageAnswer {
    let mut symbols = Vec::new();
    match serde_json::from_value::<Option<DocumentSymbolResponse>>(result).ok().flatten() {
        Some(DocumentSymbolResponse::Nested(found)) => add_symbols(found, 0, &mut symbols),
        Some(DocumentSymbolResponse::Flat(found)) => {
            symbols.extend(found.into_iter().take(MAX_SYMBOLS).map(|found| {
                let place = range(found.location.range);
                DocumentSymbol {
                    name: truncate(found.name, MAX_LABEL_BYTES),
                    kind: symbol_kind(found.kind),
                    depth: 0,
                    range: place,
                    name_range: TextRange { start: place.start, end: place.start },
                }
            }));
            symbols.sort_by_key(|symbol| symbol.range.start);
        }
        None => {}
    }
    LanguageAnswer::Symbols { symbols }
}

fn add_symbols(found: Vec<lsp_types::DocumentSymbol>, depth: u32, symbols: &mut Vec<DocumentSymbol>) {
    for one in found {
        if symbols.len() == MAX_SYMBOLS {
            return;
        }
        symbols.push(DocumentSymbol {
            name: truncate(one.name, MAX_LABEL_BYTES),
            kind: symbol_kind(one.kind),
            depth,
            range: range(one.range),
            name_range: range(one.selection_range),
        });
        add_symbols(one.children.unwrap_or_default(), depth + 1, symbols);
    }
}

fn symbol_kind(kind: SymbolKind) -> String {
    let kind = serde_json::to_value(kind).ok().and_then(|kind| kind.as_u64());
    let kind = kind.and_then(|kind| SYMBOL_KINDS.get((kind as usize).checked_sub(1)?));
    (*kind.unwrap_or(&"variable")).to_owned()
}

/// Reads the result of `workspace/symbol`. Symbols outside the home are left out.
pub fn workspace_symbols(home: &Path, result: Value) -> LanguageAnswer {
    let symbol = |name: String, kind, container: Option<String>, uri: &str, place| {
        Some(WorkspaceSymbol {
            name: truncate(name, MAX_LABEL_BYTES),
            kind: symbol_kind(kind),
            container: container.filter(|name| !name.is_empty()).map(|name| truncate(name, MAX_LABEL_BYTES)),
            path: home_path_of(home, uri)?.to_string(),
            range: place,
        })
    };
    let found = serde_json::from_value::<Option<WorkspaceSymbolResponse>>(result).ok().flatten();
    let symbols = match found {
        None => Vec::new(),
        Some(WorkspaceSymbolResponse::Flat(found)) => found
            .into_iter()
            .filter_map(|one| {
                let (uri, place) = (one.location.uri, range(one.location.range));
                symbol(one.name, one.kind, one.container_name, uri.as_str(), place)
            })
            .take(MAX_SYMBOLS)
            .collect(),
        Some(WorkspaceSymbolResponse::Nested(found)) => found
            .into_iter()
            .filter_map(|one| {
                let (uri, place) = match one.location {
                    OneOf::Left(location) => (location.uri, range(location.range)),
                    OneOf::Right(location) => (location.uri, TextRange::default()),
                };
                symbol(one.name, one.kind, one.container_name, uri.as_str(), place)
            })
            .take(MAX_SYMBOLS)
            .collect(),
    };
    LanguageAnswer::WorkspaceSymbols { symbols }
}

/// Reads the result of `textDocument/formatting`.
pub fn text_edits(result: Value) -> Result<Vec<RangeEdit>, BadEdit> {
    let found = serde_json::from_value::<Option<Vec<lsp_types::TextEdit>>>(result);
    let found = found.map_err(|_| BadEdit::Unreadable)?.unwrap_or_default();
    if found.len() > MAX_TEXT_EDITS {
        return Err(BadEdit::TooMany);
    }
    found.into_iter().map(range_edit).collect()
}

/// Reads the result of `textDocument/prepareRename`: what would be renamed. `None`: nothing.
pub fn rename_range(result: &Value) -> Option<RenameRange> {
    if result["defaultBehavior"] == true {
        return Some(RenameRange::Word);
    }
    if let Some(name) = result["placeholder"].as_str() {
        return Some(RenameRange::Name(truncate(name.to_owned(), MAX_LABEL_BYTES)));
    }
    serde_json::from_value(result.clone()).ok().map(|place| RenameRange::Range(range(place)))
}

/// What would be renamed, as servers say it.
#[derive(Debug, PartialEq, Eq)]
pub enum RenameRange {
    /// The word at the position.
    Word,
    /// A text with this name.
    Name(String),
    /// The text of a range.
    Range(TextRange),
}

/// Code actions.
#[derive(Debug, Default)]
pub struct Actions {
    /// What the server has sent of each.
    pub raw: Vec<Value>,
    /// What clients get of each. Their ids are empty.
    pub actions: Vec<CodeAction>,
}

/// Reads the result of `textDocument/codeAction`. Actions that need a command which the server does not know
/// are left out: they are for one editor.
pub fn code_actions(mut result: Value, knows: impl Fn(&str) -> bool) -> Actions {
    let mut found = Actions::default();
    let Some(list) = result.as_array_mut() else { return found };
    for raw in list.iter_mut().map(Value::take) {
        if found.actions.len() == MAX_ACTIONS {
            break;
        }
        let Ok(action) = serde_json::from_value::<CodeActionOrCommand>(raw.clone()) else { continue };
        let (action, command) = match action {
            CodeActionOrCommand::Command(command) => (
                CodeAction {
                    id: String::new(),
                    title: command.title,
                    kind: String::new(),
                    is_preferred: false,
                    disabled: None,
                },
                Some(command.command),
            ),
            CodeActionOrCommand::CodeAction(action) => (
                CodeAction {
                    id: String::new(),
                    title: action.title,
                    kind: action.kind.map(|kind| kind.as_str().to_owned()).unwrap_or_default(),
                    is_preferred: action.is_preferred == Some(true),
                    disabled: action.disabled.map(|disabled| truncate(disabled.reason, MAX_LABEL_BYTES)),
                },
                action.command.map(|command| command.command),
            ),
        };
        if command.is_some_and(|command| !knows(&command)) {
            continue;
        }
        let title = truncate(action.title, MAX_LABEL_BYTES);
        let kind = truncate(action.kind, MAX_LABEL_BYTES);
        found.raw.push(raw);
        found.actions.push(CodeAction { title, kind, ..action });
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: u32, column: u32) -> TextPosition {
        TextPosition { line, column }
    }

    fn lsp_range(line: u32, from: u32, to: u32) -> Value {
        json!({ "start": { "line": line, "character": from }, "end": { "line": line, "character": to } })
    }

    #[test]
    fn proposals_go_with_typed_text() {
        let list = json!({ "isIncomplete": false, "items": [
            { "label": "other" },
            { "label": "module", "sortText": "2" },
            {
                "label": "print", "sortText": "1", "kind": 3,
                "insertText": "print($0)", "insertTextFormat": 2,
            },
            { "label": "P", "filterText": "pr", "kind": 99 },
            { "label": 5 },
            {
                "label": "x", "filterText": ".pr",
                "textEdit": { "range": lsp_range(1, 1, 4), "newText": "!" },
            },
        ] });
        let found = proposals(list.clone(), "\n\u{1f600}.pr", at(2, 5));
        let labels: Vec<&str> = found.items.iter().map(|item| item.label.as_str()).collect();
        assert_eq!(labels, ["print", "P"], "text inside a character is not typed");
        assert_eq!(found.items[0].kind, "function");
        assert!(found.items[0].is_snippet && !found.is_incomplete);
        assert_eq!(found.raw[0]["label"], "print");
        let found = proposals(list, "\nx.pr", at(2, 4));
        let labels: Vec<&str> = found.items.iter().map(|item| item.label.as_str()).collect();
        assert_eq!(labels, ["print", "P", "x"]);
        assert_eq!(found.items[2].insert, "!");
    }

    #[test]
    fn too_many_proposals_are_incomplete() {
        let list: Vec<Value> = (0..400).map(|number| json!({ "label": format!("a{number}") })).collect();
        let found = proposals(list.into(), "a", at(1, 1));
        assert_eq!((found.items.len(), found.is_incomplete), (MAX_COMPLETIONS, true));
        assert!(proposals(json!("x"), "a", at(1, 1)).items.is_empty());
        assert!(proposals(Value::Null, "a", at(1, 1)).items.is_empty());
    }

    #[test]
    fn hover_has_one_form() {
        let markdown = |contents: Value| match hover(json!({ "contents": contents })) {
            LanguageAnswer::Hover { markdown, .. } => markdown,
            _ => panic!("another answer"),
        };
        assert_eq!(markdown(json!("**x**")), "**x**");
        assert_eq!(markdown(json!({ "kind": "plaintext", "value": "a*b" })), "```text\na*b\n```");
        assert_eq!(markdown(json!([{ "language": "py`x", "value": "```" }, "y"])), "````pyx\n```\n````\n\ny");
        assert_eq!(markdown(json!(7)), "");
        assert!(markdown(json!("x".repeat(2 * MAX_MARKDOWN_BYTES))).len() < MAX_MARKDOWN_BYTES + 8);
    }

    #[test]
    fn signature_marks_its_parameter() {
        let result = json!({ "activeParameter": 1, "signatures": [
            { "label": "f(\u{1f600}, b)", "parameters": [{ "label": "x" }, { "label": "b" }] },
            { "label": "g", "activeParameter": 0, "parameters": [{ "label": [2, 3] }] },
        ], "activeSignature": 9 });
        let LanguageAnswer::Signature { signatures, active } = signature(result) else { panic!("another") };
        assert_eq!(active, 1);
        assert_eq!(signatures[0].active_parameter, Some((6, 7)));
        assert_eq!(signatures[1].active_parameter, Some((2, 3)));
    }

    #[test]
    fn locations_have_one_form() {
        let home = Path::new("/home/dev");
        let places = |result| match locations(home, result) {
            LanguageAnswer::Locations { locations } => locations,
            _ => panic!("another answer"),
        };
        let place = json!({ "uri": "file:///home/dev/a%20b.py", "range": lsp_range(0, 1, 2) });
        let in_home = TextLocation {
            path: "a b.py".to_owned(),
            in_home: true,
            range: TextRange { start: at(1, 1), end: at(1, 2) },
            line: None,
        };
        assert_eq!(places(place.clone()), std::slice::from_ref(&in_home));
        assert_eq!(places(json!([place, place])), std::slice::from_ref(&in_home));
        let link = json!([{
            "targetUri": "file:///usr/lib/x.pyi",
            "targetRange": lsp_range(0, 0, 9),
            "targetSelectionRange": lsp_range(0, 1, 2),
        }]);
        assert_eq!(
            places(link),
            [TextLocation { path: "/usr/lib/x.pyi".to_owned(), in_home: false, ..in_home }]
        );
        assert!(places(json!([{ "uri": "untitled:x", "range": lsp_range(0, 0, 0) }])).is_empty());
        assert!(places(Value::Null).is_empty());
    }

    #[test]
    fn symbols_have_one_form() {
        let list = |result| match symbols(result) {
            LanguageAnswer::Symbols { symbols } => symbols,
            _ => panic!("another answer"),
        };
        let whole = json!({ "start": { "line": 0, "character": 0 }, "end": { "line": 3, "character": 0 } });
        let one = |name: &str, children: Value| {
            json!({
                "name": name, "kind": 5, "range": whole, "selectionRange": lsp_range(0, 6, 7),
                "children": children,
            })
        };
        let found = list(json!([one("A", json!([one("b", Value::Null)])), one("C", json!([]))]));
        let depths: Vec<_> = found.iter().map(|symbol| (symbol.name.as_str(), symbol.depth)).collect();
        assert_eq!(depths, [("A", 0), ("b", 1), ("C", 0)]);
        assert_eq!((found[0].kind.as_str(), found[0].name_range.start), ("class", at(1, 6)));
        assert_eq!(found[0].range.end, at(4, 0));
        let place = |line| json!({ "uri": "file:///home/dev/a", "range": lsp_range(line, 0, 1) });
        let flat = |line| json!({ "name": "f", "kind": 99, "location": place(line) });
        let found = list(json!([flat(2), flat(1)]));
        assert_eq!((found[0].range.start.line, found[0].kind.as_str()), (2, "variable"));
        let many: Vec<Value> = (0..6_000).map(|_| one("x", json!([]))).collect();
        assert_eq!(list(many.into()).len(), MAX_SYMBOLS);
        assert!(list(json!(7)).is_empty() && list(Value::Null).is_empty());
    }

    #[test]
    fn workspace_symbols_are_in_the_home() {
        let place = |uri: &str| json!({ "uri": uri, "range": lsp_range(1, 4, 5) });
        let symbol = |uri: &str| json!({ "name": "f", "kind": 12, "location": place(uri) });
        let result = json!([symbol("file:///usr/lib/x.py"), symbol("file:///home/dev/a.py")]);
        let LanguageAnswer::WorkspaceSymbols { symbols } = workspace_symbols(Path::new("/home/dev"), result)
        else {
            panic!("another answer")
        };
        assert_eq!(symbols.len(), 1);
        assert_eq!((symbols[0].path.as_str(), symbols[0].kind.as_str()), ("a.py", "function"));
        assert_eq!(symbols[0].range.start, at(2, 4));
    }

    #[test]
    fn rename_ranges_have_one_form() {
        let word = TextRange { start: at(1, 2), end: at(1, 5) };
        assert_eq!(rename_range(&lsp_range(0, 2, 5)), Some(RenameRange::Range(word)));
        let named = json!({ "range": lsp_range(0, 2, 5), "placeholder": "x" });
        assert_eq!(rename_range(&named), Some(RenameRange::Name("x".to_owned())));
        assert_eq!(rename_range(&json!({ "defaultBehavior": true })), Some(RenameRange::Word));
        for nothing in [Value::Null, json!(7), json!({ "defaultBehavior": false })] {
            assert_eq!(rename_range(&nothing), None);
        }
    }

    #[test]
    fn actions_of_one_editor_are_left_out() {
        let command = |name: &str| json!({ "title": "c", "command": name });
        let fix = json!({ "title": "Fix", "kind": "quickfix", "isPreferred": true, "edit": {} });
        let disabled = json!({ "title": "No", "disabled": { "reason": "why" } });
        let result = json!([
            command("theirs"), command("known"), fix, disabled,
            { "title": "d", "command": command("editor.show") }, 7,
        ]);
        let found = code_actions(result, |command| command == "known");
        let titles: Vec<&str> = found.actions.iter().map(|action| action.title.as_str()).collect();
        assert_eq!(titles, ["c", "Fix", "No"]);
        assert_eq!((found.actions[1].kind.as_str(), found.actions[1].is_preferred), ("quickfix", true));
        assert_eq!(found.actions[2].disabled.as_deref(), Some("why"));
        assert_eq!(found.raw[1]["title"], "Fix");
        let many: Vec<Value> = (0..300).map(|_| json!({ "title": "x" })).collect();
        assert_eq!(code_actions(many.into(), |_| true).actions.len(), MAX_ACTIONS);
        assert!(code_actions(Value::Null, |_| true).actions.is_empty());
    }

    #[test]
    fn diagnostics_are_limited_and_ordered() {
        let one = |line| json!({ "range": lsp_range(line, 5, 1), "message": "m", "code": 7, "tags": [1] });
        let many: Vec<Value> = (0..600).rev().map(one).collect();
        let many = serde_json::from_value(many.into()).expect("diagnostics");
        let file = file_diagnostics("a".to_owned(), "python", None, many);
        assert_eq!((file.diagnostics.len(), file.truncated), (MAX_FILE_DIAGNOSTICS, true));
        let first = &file.diagnostics[0];
        assert_eq!((first.range.start, first.range.end), (at(1, 5), at(1, 5)), "no negative range");
        assert_eq!((first.severity, first.code.as_deref()), (Severity::Error, Some("7")));
        assert!(first.unnecessary && !first.deprecated);
    }
}
