// A menu below its button, or at the pointer. Arrow keys move, Escape closes it and restores the focus.
import { useEffect, useLayoutEffect, useRef, useState, type KeyboardEvent, type ReactNode } from "react";
import { Icon, type IconName } from "./icons";

export interface MenuItem {
  label: string;
  icon?: IconName;
  keys?: string;
  danger?: boolean;
  disabled?: boolean;
  /** Why it is disabled. */
  reason?: string;
  href?: string;
  /** For links: download instead of open. */
  download?: boolean;
  run?: () => void;
}
export type MenuEntry = MenuItem | "line";

interface Place {
  x: number;
  y: number;
  /** Top of the button. The menu opens upwards from there if there is no room below. */
  above: number;
  alignEnd: boolean;
}

interface MenuListProps {
  label: string;
  head?: ReactNode;
  items: MenuEntry[];
  place: Place;
  onClose: () => void;
}

const EDGE = 8;

function MenuList({ label, head, items, place, onClose }: MenuListProps) {
  const element = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    const menu = element.current;
    if (!menu) return;
    menu.showPopover?.();
    const { width, height } = menu.getBoundingClientRect();
    const left = place.alignEnd ? place.x - width : place.x;
    const below = place.y + height + EDGE <= window.innerHeight;
    menu.style.left = `${Math.max(EDGE, Math.min(left, window.innerWidth - width - EDGE))}px`;
    menu.style.top = `${Math.max(EDGE, below ? place.y : place.above - height)}px`;
    menu.querySelector<HTMLElement>(".menu-item:not(:disabled)")?.focus();
  }, [place]);
  useEffect(() => {
    const outside = (event: Event) => {
      if (!element.current?.contains(event.target as Node)) onClose();
    };
    document.addEventListener("pointerdown", outside, true);
    window.addEventListener("resize", onClose);
    return () => {
      document.removeEventListener("pointerdown", outside, true);
      window.removeEventListener("resize", onClose);
    };
  }, [onClose]);
  const move = (event: KeyboardEvent) => {
    event.stopPropagation();
    const all = [...(element.current?.querySelectorAll<HTMLElement>(".menu-item:not(:disabled)") ?? [])];
    const at = all.indexOf(document.activeElement as HTMLElement);
    const to = {
      ArrowDown: (at + 1) % all.length,
      ArrowUp: (at - 1 + all.length) % all.length,
      Home: 0,
      End: all.length - 1,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      all[to]?.focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      onClose();
    }
  };
  // Labels are aligned, whether or not their item has an icon.
  const pictured = items.some((item) => item !== "line" && item.icon);
  const icon = ({ icon }: MenuItem) =>
    pictured && <span className="menu-icon">{icon && <Icon name={icon} />}</span>;
  return (
    <div ref={element} className="menu" popover="manual" role="menu" aria-label={label} onKeyDown={move}>
      {head}
      {items.map((item, index) =>
        item === "line" ? (
          <hr key={index} />
        ) : item.href !== undefined ? (
          <a
            key={index}
            className="menu-item"
            role="menuitem"
            href={item.href}
            download={item.download ? "" : undefined}
            onClick={onClose}
          >
            {icon(item)}
            {item.label}
          </a>
        ) : (
          <button
            key={index}
            type="button"
            role="menuitem"
            className={item.danger ? "menu-item danger" : "menu-item"}
            disabled={item.disabled ?? Boolean(item.reason)}
            onClick={() => {
              onClose();
              item.run?.();
            }}
          >
            {icon(item)}
            {item.reason ? (
              <span className="menu-reasoned">
                {item.label}
                <span>{item.reason}</span>
              </span>
            ) : (
              item.label
            )}
            {item.keys && <kbd>{item.keys}</kbd>}
          </button>
        ),
      )}
    </div>
  );
}

interface MenuButtonProps {
  label: string;
  items: MenuEntry[];
  head?: ReactNode;
  className?: string;
  children: ReactNode;
}

export function MenuButton({ label, items, head, className = "icon-button", children }: MenuButtonProps) {
  const button = useRef<HTMLButtonElement>(null);
  const [place, setPlace] = useState<Place | null>(null);
  const close = useRef(() => undefined as void);
  close.current = () => {
    setPlace(null);
    button.current?.focus();
  };
  const [onClose] = useState(() => () => close.current());
  const open = () => {
    const box = button.current?.getBoundingClientRect();
    if (box) setPlace({ x: box.right, y: box.bottom + 4, above: box.top - 4, alignEnd: true });
  };
  return (
    <>
      <button
        ref={button}
        type="button"
        className={className}
        aria-label={label}
        title={label}
        aria-haspopup="menu"
        aria-expanded={place !== null}
        onClick={() => (place ? onClose() : open())}
      >
        {children}
      </button>
      {place && <MenuList label={label} head={head} items={items} place={place} onClose={onClose} />}
    </>
  );
}

/** A menu at the pointer. */
export function ContextMenu(props: {
  label: string;
  items: MenuEntry[];
  x: number;
  y: number;
  onClose: () => void;
}) {
  const [place] = useState<Place>({ x: props.x, y: props.y, above: props.y, alignEnd: false });
  return <MenuList label={props.label} items={props.items} place={place} onClose={props.onClose} />;
}
