"""Options that every Atelier module shares."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  site:
    description:
      - The installation the module works on. The inventory composes it once as C(atelier_site);
        playbooks pass it on as it is.
    type: dict
    required: true
    suboptions:
      instance:
        description: Prefix of the installation's containers, networks and labels.
        type: str
        required: true
      state_dir:
        description: Folder of the registry, the gateway's files and the locks.
        type: path
        required: true
      engine_url:
        description: Where the Docker Engine listens, such as V(unix:///var/run/docker.sock).
        type: str
        required: true
      image_prefix:
        description: First part of the names of the images that the installation built.
        type: str
        required: true
      domain:
        description: Domain under which seats are reached, as V(<id>.<domain>).
        type: str
        required: true
      port:
        description: The gateway's port.
        type: int
        required: true
      protocol:
        description: How browsers reach the gateway.
        type: str
        choices: [http, https]
        required: true
      networks:
        description: For each egress mode the Docker network (C(name)) and its address range (C(subnet), CIDR).
        type: dict
        required: true
      max_workspaces_per_user:
        description: Ceiling for one owner's workspaces, running or not.
        type: int
        required: true
      max_concurrent_workspaces:
        description: Ceiling for workspaces that run at once.
        type: int
        required: true
      enable_resource_limits:
        description: Whether the two ceilings below are enforced.
        type: bool
        required: true
      cpu_per_workspace:
        description: Largest number of CPU cores one workspace may ask for.
        type: float
        required: true
      memory_per_workspace_mb:
        description: Largest amount of memory one workspace may ask for, in MiB.
        type: int
        required: true
      archive:
        description: Limits of the archive of one workspace. Those of an installation without them are the defaults.
        type: dict
        suboptions:
          max_entries:
            description: Files and folders.
            type: int
            required: true
          max_mib:
            description: MiB of content, the holes in files included. A checkpoint or a clone copies no more either.
            type: int
            required: true
          max_seconds:
            description: Seconds that reading it may take. A running workspace is paused meanwhile.
            type: float
            required: true
      builds:
        description: What template images are built from. An installation without it builds none.
        type: dict
        suboptions:
          ide_image:
            description: The image that all templates are built on.
            type: str
            required: true
          template_dirs:
            description: Folders of the site's own templates, searched before those that come with Atelier.
            type: list
            elements: path
            required: true
          pip_conf:
            description: The host's pip settings, a build secret if the file exists.
            type: path
            required: true
          npmrc:
            description: The host's npm settings, a build secret if the file exists.
            type: path
            required: true
          seconds:
            description: Seconds that the build of one image may take.
            type: float
            required: true
      seat_disk:
        description: Bytes that the files of one workspace may take; 0 for no limit.
        type: int
        default: 0
      seat_file_size:
        description: Bytes that a single file of a workspace may have; 0 for no limit.
        type: int
        default: 0
      git:
        description: The git server; left out on an installation without one.
        type: dict
        suboptions:
          service:
            description: Whose HTTP API answers, Atelier's own service or Forgejo.
            type: str
            choices: [embedded, forgejo]
            required: true
          owner:
            description: The account that owns all repositories.
            type: str
            required: true
          seat_port:
            description: The port by which seats reach it on their bridge's own address.
            type: int
            required: true
attributes:
  check_mode:
    description: Whether the module tells what it would change without changing it.
  diff_mode:
    description: Whether the module shows the change as before and after.
"""
