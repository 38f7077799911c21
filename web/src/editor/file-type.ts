// What a file that is no text may be shown as, by its name. SVG is text, and not here. Pure.

const IMAGES: Record<string, string> = {
  png: "image/png",
  apng: "image/apng",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  gif: "image/gif",
  webp: "image/webp",
  avif: "image/avif",
  bmp: "image/bmp",
  ico: "image/x-icon",
};

/** The type with which a browser decodes the image. Null: the name is not that of an image. */
export function imageTypeOf(name: string): string | null {
  const ending = /\.([^.]+)$/.exec(name)?.[1]?.toLowerCase() ?? "";
  return Object.hasOwn(IMAGES, ending) ? (IMAGES[ending] ?? null) : null;
}
