;; refused: structure-limit, says nested components
;; Reaches out of itself for a core module.
(component $out (core module $m) (component (core instance (instantiate (module $out $m)))))
