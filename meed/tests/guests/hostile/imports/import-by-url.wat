;; refused: import-not-allowed
(component (import "url=<https://example.com/log.wasm>" (func)))
