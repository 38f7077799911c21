// A page with a stock y-websocket client, as another application would have it.
import { WebsocketProvider } from "y-websocket";
import * as Y from "yjs";

/** Opens a file, and shows a caret with this name at the end of the text. */
export function open(server, path, name) {
    const doc = new Y.Doc();
    const provider = new WebsocketProvider(server, "documents", doc, { disableBc: true, params: { path } });
    const text = doc.getText("content");
    let closeCode = null;
    provider.on("closed", ({ code }) => (closeCode = code));
    provider.awareness.setLocalStateField("user", { name, color: "#30bced" });
    const placeCaret = () => {
        const position = Y.relativePositionToJSON(Y.createRelativePositionFromTypeIndex(text, text.length));
        provider.awareness.setLocalStateField("cursor", { anchor: position, head: position });
    };
    return {
        text: () => text.toString(),
        isSynced: () => provider.synced,
        names: () =>
            [...provider.awareness.getStates().values()].map((state) => state.user?.name ?? "").sort(),
        append: (line) => {
            text.insert(text.length, line);
            placeCaret();
        },
        /** Inserts so many lines, each before the one before it, so that none continues another. */
        insertInManyPlaces: (count) => {
            for (let number = 0; number < count; number += 1) text.insert(0, "x\n");
        },
        closeCode: () => closeCode,
        disconnect: () => provider.disconnect(),
        connect: () => provider.connect(),
    };
}
