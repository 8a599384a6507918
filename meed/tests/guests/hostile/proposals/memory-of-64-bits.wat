;; refused: wrong-world, says 64
;; in memory
(memory (export "memory") i64 2)
