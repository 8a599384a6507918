// What the server offers to a rule.
declare module "meed:condition/log@1.0.0" {
  export function note(message: string): void;
}
