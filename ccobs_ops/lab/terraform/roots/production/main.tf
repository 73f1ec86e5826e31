# The lab's production root: what recovery of the observatory rests on.
terraform {
  required_providers {
    lab = {
      source  = "example.com/lab/lab"
      version = "0.1.0"
    }
  }
  backend "s3" {}
}

variable "escrow_key" {
  type      = string
  sensitive = true
}

# Backups that nobody can delete for 35 days, and that the nightly copy job finds by their tag.
resource "lab_bucket" "vault" {
  name           = "observatory-vault"
  region         = "us"
  versioning     = true
  retention_days = 35
  tags = {
    backup = "nightly"
    owner  = "observatory"
  }
}

# What users upload; versioning is what brings a deleted file back.
resource "lab_bucket" "uploads" {
  name       = "observatory-uploads"
  region     = "us"
  versioning = true
  tags = {
    backup = "hourly"
  }
}

# A commit that is confirmed before it is on disk is lost when the server dies.
resource "lab_database_setting" "synchronous_commit" {
  database = "observatory"
  name     = "synchronous_commit"
  value    = "on"
}

resource "lab_file" "escrow" {
  path    = "production/escrow.key"
  content = var.escrow_key
  mode    = "0600"
}

resource "lab_file" "motd" {
  path    = "production/motd"
  content = "observatory production\n"
  mode    = "0644"
}

output "vault" {
  value = lab_bucket.vault.id
}
