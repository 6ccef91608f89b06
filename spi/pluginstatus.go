package spi

// PluginStatus is a plugin process at one moment, for listings.
type PluginStatus struct {
	Name       string            `json:"name"`
	Path       string            `json:"path"`
	State      string            `json:"state"` // "starting", "ready", "killing", "backoff", "open" or "stopped"
	InState    Duration          `json:"in_state"`
	PID        int               `json:"pid"`        // 0: there is no process
	Generation uint64            `json:"generation"` // number of the process, from 1; also how often it was started
	SHA256     string            `json:"sha256"`     // of the program that runs or ran last
	Verified   bool              `json:"verified"`   // that hash was configured
	SDK        string            `json:"sdk"`
	Protocol   int               `json:"protocol"`
	LastExit   string            `json:"last_exit"`  // how the process before ended; "": there was none
	LastLines  []string          `json:"last_lines"` // that it printed, at most 50
	Calls      uint64            `json:"calls"`
	Errors     uint64            `json:"errors"` // of Calls
	P50        Duration          `json:"p50"`    // of the latest exchanges that were answered; 0: none was
	P99        Duration          `json:"p99"`
	Dropped    uint64            `json:"dropped"` // lines that were printed too fast to be logged
	RSS        Size              `json:"rss"`     // resident memory; 0 where the system does not say
	CPU        Duration          `json:"cpu"`     // that the process has used
	Files      int               `json:"files"`   // open
	Extensions []PluginExtension `json:"extensions"`
}

// PluginExtension is one extension of a plugin.
type PluginExtension struct {
	Kind      string   `json:"kind"`
	Name      string   `json:"name"`
	Opened    int      `json:"opened"`    // how often it is in use
	Fallback  bool     `json:"fallback"`  // what stands in for it was used last
	Fallbacks uint64   `json:"fallbacks"` // uses of what stands in
	PlanAge   Duration `json:"plan_age"`  // of the last good plan; 0: there is none
	Dropped   uint64   `json:"dropped"`   // outcomes that the hooks of a proxy may not have been told
}
