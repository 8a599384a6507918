;; refused: import-not-allowed
;; in imports
(import "env" "stack_pointer" (global (mut i32)))
