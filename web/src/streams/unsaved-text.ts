// Text of a document that is not in its file.

export interface UnsavedText {
  /** The file's text when it was last equal to the document. */
  base: string;
  /** The document's text. */
  text: string;
  /** Unix milliseconds of the last edit. */
  at: number;
}

/** Where one document keeps its unsaved text, beyond the life of the page. */
export interface UnsavedTextSlot {
  read(): Promise<UnsavedText | null>;
  write(unsaved: UnsavedText): Promise<void>;
  delete(): Promise<void>;
}

/** Keeps nothing. */
export const noSlot: UnsavedTextSlot = {
  read: () => Promise.resolve(null),
  write: () => Promise.resolve(),
  delete: () => Promise.resolve(),
};
