;; refused: wrong-world

;; in items
(tag $tag)
(func (throw $tag))
