// The app's icons, drawn on a 16-pixel grid. They are decoration: each control has a label in words.
const paths = {
  plus: "M8 3v10M3 8h10",
  close: "m4 4 8 8m0-8-8 8",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  chevron: "m6 4 4 4-4 4",
  folder: "M2 4.5h4l1.5 1.5H14v7H2z",
  file: "M4 2h5l3 3v9H4zM9 2v3h3",
  link: "M6.5 9.5 9.5 6.5M7 4.5l1-1a3 3 0 0 1 4.5 4.5l-1 1M9 11.5l-1 1A3 3 0 0 1 3.5 8l1-1",
  filePlus: "M9 14H4V2h5l3 3v3M9 2v3h3M12 10v4M10 12h4",
  folderPlus: "M8 13H2V4.5h4l1.5 1.5H14v2.5M12 10v4M10 12h4",
  upload: "M8 11V3m-3 3 3-3 3 3M3 13h10",
  download: "M8 3v8m-3-3 3 3 3-3M3 13h10",
  refresh: "M13 8a5 5 0 1 1-1.5-3.5M13 2.5V5h-2.5",
  terminal: "m3 5 3 3-3 3M8 11h5",
  copy: "M6 6h7v7H6zM10 6V3H3v7h3",
  check: "m3 8.5 3.5 3.5L13 4.5",
  sun:
    "M8 5.5a2.5 2.5 0 1 1 0 5 2.5 2.5 0 0 1 0-5M8 1.5v1.5M8 13v1.5M1.5 8H3M13 8h1.5" +
    "M3.4 3.4l1 1M11.6 11.6l1 1M3.4 12.6l1-1M11.6 4.4l1-1",
  moon: "M13 9.5A5.5 5.5 0 0 1 6.5 3a5.5 5.5 0 1 0 6.5 6.5z",
  screen: "M2 3h12v8H2zM6 14h4",
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8M8 6a2 2 0 1 1 0 4 2 2 0 0 1 0-4",
  play: "M5 3v10l8-5z",
  stop: "M4 4h8v8H4z",
  user:
    "M6 3.5a2.2 2.2 0 1 1 0 4.4 2.2 2.2 0 0 1 0-4.4M1.8 13c0-2.3 1.9-3.6 4.2-3.6s4.2 1.3 4.2 3.6" +
    "M10.5 3.8a2 2 0 0 1 0 3.8M11.8 9.8c1.5.5 2.4 1.6 2.4 3.2",
  history: "M8 5v3l2 1.5M2.8 6.2A5.5 5.5 0 1 1 2.5 8M2.5 3v3.2h3.2",
  fork:
    "M4.5 5v6M4.5 5a1.5 1.5 0 1 1 0-3 1.5 1.5 0 0 1 0 3M4.5 14a1.5 1.5 0 1 1 0-3 1.5 1.5 0 0 1 0 3" +
    "M11.5 5a1.5 1.5 0 1 1 0-3 1.5 1.5 0 0 1 0 3M11.5 5c0 3-2 3.5-7 4.5",
  pin: "M8 9.5V14M5 2h6M6 2v4l-2 3.5h8L10 6V2",
  earlier: "m10 4-4 4 4 4",
  later: "m6 4 4 4-4 4",
  newest: "m4.5 4 4 4-4 4M11.5 4v8",
  restore: "M3 8a5 5 0 1 0 1.5-3.5M3 2.5V5h2.5",
  side: "M2 3h12v10H2zM6 3v10",
  panel: "M2 3h12v10H2zM2 9.5h12",
} as const;

export type IconName = keyof typeof paths;

export function Icon({ name, size = 16 }: { name: IconName; size?: number }) {
  return (
    <svg
      aria-hidden="true"
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth={name === "more" ? 2.4 : 1.4}
      strokeLinecap="round"
      strokeLinejoin="round"
    >
      <path d={paths[name]} />
    </svg>
  );
}
