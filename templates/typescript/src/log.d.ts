// The import that the server provides.
declare module "meed:condition/log@1.0.0" {
  export function note(message: string): void;
}
