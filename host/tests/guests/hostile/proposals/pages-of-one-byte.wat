;; refused: wrong-world

(module (memory 1 2 (pagesize 1)))
