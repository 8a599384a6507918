;; refused: does-not-compile, says exceptions
;; in items
(tag $tag)
(func (throw $tag))
