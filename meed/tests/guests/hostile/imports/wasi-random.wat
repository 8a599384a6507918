;; refused: import-not-allowed
;; in imports
(import "wasi_snapshot_preview1" "random_get" (func (param i32 i32) (result i32)))
