// Prometheus' own discovery of Consul's services, alone: it prints what it finds.
//
//	consul_sd SERVER TOKEN SERVICE
//
// Debian builds its Prometheus without this part.
package main

import (
	"context"
	"encoding/json"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/go-kit/log"
	config "github.com/prometheus/common/config"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/discovery/consul"
	"github.com/prometheus/prometheus/discovery/targetgroup"
)

func main() {
	settings := consul.DefaultSDConfig
	settings.Server = os.Args[1]
	settings.Token = config.Secret(os.Args[2])
	settings.Services = os.Args[3:]
	settings.RefreshInterval = model.Duration(time.Second)
	found, err := consul.NewDiscovery(&settings, log.NewLogfmtLogger(os.Stderr))
	if err != nil {
		panic(err)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	groups := make(chan []*targetgroup.Group)
	go found.Run(ctx, groups)
	out := json.NewEncoder(os.Stdout)
	for {
		select {
		case <-ctx.Done():
			return
		case changed := <-groups:
			for _, group := range changed {
				told := map[string]any{"targets": group.Targets, "labels": group.Labels}
				if err := out.Encode(told); err != nil {
					return
				}
			}
		}
	}
}
