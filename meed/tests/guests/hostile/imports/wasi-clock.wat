;; refused: import-not-allowed
;; A clock would make a decision depend on when it is made.
;; in imports
(import "wasi_snapshot_preview1" "clock_time_get" (func (param i32 i64 i32) (result i32)))
