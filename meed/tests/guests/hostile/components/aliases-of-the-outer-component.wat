;; refused: structure-limit, says nested components
;; Reaches out of itself for a core module.
(component $out (core module $m)
  (component (alias outer $out $m (core module $inner)) (core instance (instantiate $inner))))
