declare module "meed-client/receipts" {
  /** @throws an error with a `code`, if the receipt is not authentic */
  export function verifyReceipt(signed: unknown, keys: unknown): Promise<{ keyId: string; digest: string; erased: boolean }>;
}
declare module "*.css";
