// A small button with an icon, whose label is its name and its tooltip.
import { Icon, type IconName } from "./icons";

interface Props {
  icon: IconName;
  label: string;
  disabled?: boolean;
  onClick: () => void;
}

export function IconButton({ icon, label, disabled, onClick }: Props) {
  return (
    <button
      type="button"
      className="icon-button"
      aria-label={label}
      title={label}
      disabled={disabled}
      onClick={onClick}
    >
      <Icon name={icon} />
    </button>
  );
}
