// Switches between the light and the dark theme.
import { Icon } from "../ui/icons";
import { setTheme, useIsDark } from "../ui/theme";

export function ThemeButton() {
  const dark = useIsDark();
  const label = dark ? "Light theme" : "Dark theme";
  return (
    <button
      className="icon-button wide-only"
      aria-label={label}
      title={label}
      onClick={() => setTheme(dark ? "light" : "dark")}
    >
      <Icon name={dark ? "sun" : "moon"} />
    </button>
  );
}
