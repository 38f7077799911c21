import js from "@eslint/js";
import hooks from "eslint-plugin-react-hooks";
import ts from "typescript-eslint";

export default ts.config(
    { ignores: ["dist", "node_modules", "src/api/schema.ts"] },
    js.configs.recommended,
    ...ts.configs.recommendedTypeChecked,
    { languageOptions: { parserOptions: { projectService: { allowDefaultProject: ["eslint.config.js"] } } } },
    {
        files: ["src/**"],
        plugins: { "react-hooks": hooks },
        rules: {
            "react-hooks/rules-of-hooks": "error",
            "react-hooks/exhaustive-deps": "error",
            "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: { attributes: false } }],
            "@typescript-eslint/switch-exhaustiveness-check": "error",
            "no-restricted-properties": [
                "error",
                {
                    object: "crypto",
                    property: "randomUUID",
                    message: "It exists on https and loopback pages only. Use uuidv4 of lib0/random.",
                },
            ],
            // Text from guests must never become markup.
            "no-restricted-syntax": [
                "error",
                {
                    selector: "JSXAttribute[name.name='dangerouslySetInnerHTML']",
                    message: "Render text, not HTML.",
                },
            ],
        },
    },
    { files: ["**/*.js"], ...ts.configs.disableTypeChecked },
);
