;; refused: import-not-allowed
;; in imports
(import "env" "__indirect_function_table" (table 1 funcref))
