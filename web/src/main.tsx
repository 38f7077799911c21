// Entry point of the web app.
import { createRoot } from "react-dom/client";
import { App } from "./app/app";
import { keepFocus } from "./ui/focus";
import { startTheme } from "./ui/theme";
import "@fontsource-variable/inter/wght.css";
import "@fontsource-variable/jetbrains-mono/wght.css";
import "./ui/tokens.css";
import "./ui/base.css";

startTheme();
keepFocus();
const root = document.getElementById("root");
if (root) createRoot(root).render(<App />);
