package cri

import (
	"path"
	"strings"

	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"tare/spec"
	"tare/store"
)

// containerSpec validates and converts what CreateContainer asks for in pod.
func containerSpec(cfg *runtime.ContainerConfig, pod *store.Pod) (*spec.Container, error) {
	if cfg == nil {
		return nil, field("config").errorf("must not be empty")
	}
	if cfg.Windows != nil {
		return nil, field("windows").errorf("this is a runtime for Linux")
	}
	c := &spec.Container{
		Labels: cfg.Labels, Annotations: cfg.Annotations,
		Stdin: cfg.Stdin, StdinOnce: cfg.StdinOnce, TTY: cfg.Tty,
	}
	for _, convert := range []func(*runtime.ContainerConfig, *spec.Container) error{
		containerIdentity, containerProcess, containerVolumes,
	} {
		if err := convert(cfg, c); err != nil {
			return nil, err
		}
	}
	var err error
	linux, at := cfg.GetLinux(), field("linux")
	if c.Resources, err = resources(linux.GetResources(), at.sub("resources")); err != nil {
		return nil, err
	}
	if c.Security, err = security(linux.GetSecurityContext(), at.sub("security_context"), pod); err != nil {
		return nil, err
	}
	return c, nil
}

func containerIdentity(cfg *runtime.ContainerConfig, c *spec.Container) error {
	if cfg.Metadata == nil {
		return field("metadata").errorf("must not be empty")
	}
	if err := field("metadata.name").required(cfg.Metadata.Name); err != nil {
		return err
	}
	image, err := imageReference(cfg.Image, "image")
	if err != nil {
		return err
	}
	c.Name, c.Attempt = cfg.Metadata.Name, cfg.Metadata.Attempt
	c.Image, c.UserImage, c.ImageAnnotations = image, cfg.Image.UserSpecifiedImage, cfg.Image.Annotations
	c.LogPath = cfg.LogPath
	return logPath(cfg.LogPath, "log_path")
}

// logPath refuses what is no file below the pod's log directory. Empty asks for no log.
func logPath(p string, at field) error {
	if p != "" && (strings.HasSuffix(p, "/") || path.Clean(p) == ".") {
		return at.errorf("%q is a directory", p)
	}
	return at.within(p)
}

func containerProcess(cfg *runtime.ContainerConfig, c *spec.Container) (err error) {
	if err := field("command").texts(cfg.Command); err != nil {
		return err
	}
	if err := field("args").texts(cfg.Args); err != nil {
		return err
	}
	if cfg.WorkingDir != "" {
		if err := field("working_dir").absolute(cfg.WorkingDir); err != nil {
			return err
		}
	}
	c.Command, c.Args, c.WorkingDir = cfg.Command, cfg.Args, cfg.WorkingDir
	if c.Env, err = environment(cfg.Envs, "envs"); err != nil {
		return err
	}
	c.StopSignal, err = signal(cfg.StopSignal, "stop_signal")
	return err
}

func containerVolumes(cfg *runtime.ContainerConfig, c *spec.Container) (err error) {
	if c.Mounts, err = mounts(cfg.Mounts, "mounts"); err != nil {
		return err
	}
	if c.Devices, err = devices(cfg.Devices, "devices"); err != nil {
		return err
	}
	c.CDIDevices, err = cdiDevices(cfg)
	return err
}

// environment converts variables. An error never shows a value: they may be secrets.
func environment(wire []*runtime.KeyValue, at field) ([]spec.EnvVar, error) {
	var out []spec.EnvVar
	for i, kv := range wire {
		name, value := kv.GetKey(), string(kv.GetValue())
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, at.at(i).sub("key").errorf("%q is not the name of a variable", name)
		}
		if err := at.at(i).sub("value").text(value); err != nil {
			return nil, err
		}
		out = append(out, spec.EnvVar{Name: name, Value: value})
	}
	return out, nil
}
