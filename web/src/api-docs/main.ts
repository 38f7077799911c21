// The API reference at /docs: Swagger UI over the recorded OpenAPI document. Works offline;
// requests made from it use the browser's own session.
import SwaggerUI from "swagger-ui-dist/swagger-ui-es-bundle.js";
import "swagger-ui-dist/swagger-ui.css";
import "./api-docs.css";

const prefersDark = matchMedia("(prefers-color-scheme: dark)");
const applyColorScheme = () => document.documentElement.classList.toggle("dark-mode", prefersDark.matches);
applyColorScheme();
prefersDark.addEventListener("change", applyColorScheme);

SwaggerUI({
  url: "/openapi.json",
  dom_id: "#reference",
  deepLinking: true,
  defaultModelsExpandDepth: 0,
  docExpansion: "list",
  filter: true,
  // No badge from a public validator: nothing is loaded from elsewhere.
  validatorUrl: null,
});
