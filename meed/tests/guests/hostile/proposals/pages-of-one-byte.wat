;; refused: structure-limit, says memory at the start
;; in memory
(memory (export "memory") 131072 131072 (pagesize 1))
