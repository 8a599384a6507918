;; refused: wrong-world

;; in items
(func (try (do) (catch_all)))
