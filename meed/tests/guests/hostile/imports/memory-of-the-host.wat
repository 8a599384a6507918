;; refused: import-not-allowed
;; in imports
(import "env" "host_memory" (memory 1))
