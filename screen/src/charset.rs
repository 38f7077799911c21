//! National and graphical character sets, as xterm.js has them.

/// A character set that was designated, by the final byte of its designation. `None`: ASCII.
pub type Charset = Option<u8>;

/// The set that a final byte designates. `None`: the byte designates nothing.
pub fn find(designation: u8) -> Option<Charset> {
    match designation {
        b'B' => Some(None),
        _ if !replacements(designation).is_empty() => Some(Some(designation)),
        _ => None,
    }
}

/// The character that is shown for an ASCII character.
pub fn map(charset: Charset, code: u32) -> u32 {
    let Some(designation) = charset else { return code };
    if code >= 0x7f {
        return code;
    }
    let mut replacements = replacements(designation).chars();
    // Pairs: a character and its replacement.
    while let (Some(from), Some(to)) = (replacements.next(), replacements.next()) {
        if from as u32 == code {
            return to as u32;
        }
    }
    code
}

fn replacements(designation: u8) -> &'static str {
    match designation {
        b'0' => "q─x│j┘k┐l┌m└n┼t├u┤v┴w┬a▒`◆b␉c␌d␍e␊f°g±h␤i␋o⎺p⎻r⎼s⎽y≤z≥{π|≠}£~·",
        b'A' => "#£",
        b'4' => "#£@¾[i\\½]|{¨|f}¼~´",
        b'C' | b'5' => "[Ä\\Ö]Å^Ü`é{ä|ö}å~ü",
        b'R' => "#£@à[°\\ç]§{é|ù}è~¨",
        b'Q' => "@à[â\\ç]ê^î`ô{é|ù}è~û",
        b'K' => "@§[Ä\\Ö]Ü{ä|ö}ü~ß",
        b'Y' => "#£@§[°\\ç]é`ù{à|ò}è~ì",
        b'E' | b'6' => "@Ä[Æ\\Ø]Å^Ü`ä{æ|ø}å~ü",
        b'Z' => "#£@§[¡\\Ñ]¿{°|ñ}ç",
        b'H' | b'7' => "@É[Ä\\Ö]Å^Ü`é{ä|ö}å~ü",
        b'=' => "#ù@à[é\\ç]ê^î_è`ô{ä|ö}ü~û",
        _ => "",
    }
}
