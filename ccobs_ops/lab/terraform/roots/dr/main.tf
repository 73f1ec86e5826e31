# The lab's recovery region: what production fails over to.
terraform {
  required_providers {
    lab = {
      source  = "example.com/lab/lab"
      version = "0.1.0"
    }
  }
  backend "s3" {}
}

resource "lab_bucket" "vault" {
  name           = "observatory-vault-dr"
  region         = "eu"
  versioning     = true
  retention_days = 35
  tags = {
    backup = "nightly"
    owner  = "observatory"
  }
}

resource "lab_bucket" "uploads" {
  name       = "observatory-uploads-dr"
  region     = "eu"
  versioning = true
  tags = {
    backup = "hourly"
  }
}

resource "lab_file" "runbook" {
  path    = "dr/failover.txt"
  content = "1. promote  2. point DNS  3. scale up\n"
  mode    = "0644"
}
